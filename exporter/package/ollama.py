"""A package for Ollama: GGUF, Modelfile, scripts that make and prove it, clients, vectors."""

import json
import shlex
import shutil
from pathlib import Path

import jinja2

from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_files,
    describe_files,
    read_manifest,
    sha256_file,
)
from exporter.package.golden import Golden
from exporter.package.modelfile import check_modelfile, model_tag, render_modelfile
from exporter.package.records import PackageManifest
from exporter.package.sums import write_sums
from exporter.package.verdict import PackageVerdict, check_verdict
from exporter.records import write_json
from exporter.staging import check_free_disk, check_output, staged_folder

FILES = Path(__file__).parent
STATIC = ("verify.py", "client.py", "client.mjs")
TEMPLATES = {"ollama_readme.md.j2": "README.md", "create.sh.j2": "create.sh",
             "create.ps1.j2": "create.ps1"}  # fmt: skip
NO_LICENCE = "the checkpoint holds no licence file; its author's terms and the base model's apply"
LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md")


def package_ollama(
    artifact: Path, output: Path, *, checkpoint: Checkpoint, verdict: PackageVerdict,
    golden: Golden, force: bool = False,
) -> PackageManifest:  # fmt: skip
    """Write the package to `output` and return its manifest. Same input, same bytes.

    Raises GateClosed for an artifact that did not pass, BadInput for one that is not a GGUF,
    whose files are damaged, or that is not the one `checkpoint` and `golden` are about.
    """
    manifest = read_manifest(artifact)
    if manifest.kind != "gguf":
        raise BadInput(
            f"'{artifact}' is {manifest.kind}; Ollama takes a GGUF: lawvault export gguf"
        )
    check_verdict(verdict, artifact)
    check_files(artifact, manifest)
    _check_same(artifact, manifest, checkpoint, golden)
    licence = _licence(checkpoint.path)
    check_output(output, force=force)
    check_free_disk(output, int(manifest.size_bytes * 1.05) + (1 << 20))
    tag = model_tag(manifest.model_name, manifest.scheme)
    modelfile = render_modelfile(
        manifest.entry, num_ctx=manifest.max_tokens,
        license_text=_read_text(licence) if licence else None,
    )  # fmt: skip
    with staged_folder(output, force=force) as stage:
        shutil.copyfile(artifact / manifest.entry, stage / manifest.entry)
        if licence is not None:
            shutil.copyfile(licence, stage / licence.name)
        (stage / "Modelfile").write_text(modelfile, encoding="utf-8")
        check_modelfile(stage)
        write_json(stage / "prompts.json", manifest.prompts)
        write_json(stage / "golden.json", _with_minimum(golden, verdict))
        for name in STATIC:
            shutil.copyfile(FILES / "static" / name, stage / name)
        shown = f"see {licence.name}" if licence else NO_LICENCE
        for template, name in TEMPLATES.items():
            made = _render(template, manifest, verdict, tag=tag, licence=shown)
            (stage / name).write_text(made, encoding="utf-8", newline="\n")
        (stage / "create.sh").chmod(0o755)
        record = PackageManifest(
            package="ollama", model_tag=tag,
            artifact_manifest_sha256=sha256_file(artifact / MANIFEST_NAME),
            artifact=manifest, verdict=verdict, files=describe_files(stage),
        )  # fmt: skip
        write_json(stage / MANIFEST_NAME, record)
        write_sums(stage)
    return record


def _check_same(artifact: Path, manifest: Manifest, checkpoint: Checkpoint, golden: Golden) -> None:
    """Refuse to put together what does not belong together: its vectors would prove nothing."""
    theirs = {f.path: f.sha256 for f in manifest.checkpoint_files}
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    different = sorted(p for p in theirs | ours if theirs.get(p) != ours.get(p))
    if different:
        raise BadInput(
            f"'{artifact}' was not made from '{checkpoint.path}': {different[0]} differs; "
            "pass the right --checkpoint, or export again"
        )
    if manifest.window.used != checkpoint.window_used:
        raise BadInput(
            f"'{artifact}' was exported with a sliding window of {manifest.window.used}, the "
            f"checkpoint was read with {checkpoint.window_used}; pass the same --window"
        )
    if (golden.query_prompt, golden.document_prompt) != (
        manifest.prompts.query, manifest.prompts.document,
    ):  # fmt: skip
        raise BadInput(
            f"'{artifact}' was exported for the prompts query={manifest.prompts.query!r}, "
            f"document={manifest.prompts.document!r}, the golden vectors for "
            f"query={golden.query_prompt!r}, document={golden.document_prompt!r}; pass the same "
            "--prompts, or export again"
        )
    if golden.artifact != manifest.name:
        raise BadInput(f"the golden vectors are those of {golden.artifact}, not {manifest.name}")


def _with_minimum(golden: Golden, verdict: PackageVerdict) -> Golden:
    """Let a copy be as far from the reference as the report saw the artifact be."""
    if verdict.cosine_minimum is None:
        return golden
    least = min(golden.cosine_to_reference_min, verdict.cosine_minimum)
    return golden.model_copy(update={"cosine_to_reference_min": least})


def _licence(folder: Path) -> Path | None:
    return next((folder / name for name in LICENSES if (folder / name).is_file()), None)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"'{path}' is not UTF-8; save it again as UTF-8") from None


def _render(
    name: str, manifest: Manifest, verdict: PackageVerdict, *, tag: str, licence: str
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.package"), autoescape=False,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    query = manifest.prompts.render_query("房东不退押金怎么办")
    # Quoted for a shell: a prompt may hold an apostrophe.
    example = shlex.quote(json.dumps({"model": tag, "input": query}, ensure_ascii=False))
    template = environment.get_template(name)
    return template.render(
        manifest=manifest, verdict=verdict, tag=tag, example=example, licence=licence
    )
