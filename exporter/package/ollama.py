"""A package for Ollama: GGUF, Modelfile, README, prompts, golden vectors, manifest."""

import json
import shutil
from pathlib import Path

import jinja2

from exporter import __version__
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    check_files,
    describe_files,
    read_manifest,
    sha256_file,
)
from exporter.package.golden import Golden
from exporter.package.modelfile import check_modelfile, model_tag, render_modelfile
from exporter.package.verdict import PackageVerdict, check_verdict
from exporter.records import Record, write_json
from exporter.staging import check_free_disk, staged_folder

LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md")


class PackageManifest(Record):
    """manifest.json of a package."""

    schema_version: int = 1
    package: str
    tool_version: str = __version__
    model_tag: str
    artifact_manifest_sha256: str
    artifact: Manifest
    verdict: PackageVerdict
    files: tuple[FileRecord, ...]


def package_ollama(
    artifact: Path, output: Path, *, checkpoint: Checkpoint, verdict: PackageVerdict,
    golden: Golden, force: bool = False,
) -> PackageManifest:  # fmt: skip
    """Write the package to `output` and return its manifest. Same input, same bytes.

    Raises GateClosed for an artifact that did not pass, BadInput for one that is not a GGUF or
    whose files are damaged.
    """
    manifest = read_manifest(artifact)
    if manifest.kind != "gguf":
        raise BadInput(
            f"'{artifact}' is {manifest.kind}; Ollama takes a GGUF: lawvault export gguf"
        )
    check_verdict(verdict, artifact)
    check_files(artifact, manifest)
    check_free_disk(output, int(manifest.size_bytes * 1.05) + (1 << 20))
    tag = model_tag(manifest.model_name, manifest.scheme)
    with staged_folder(output, force=force) as stage:
        shutil.copyfile(artifact / manifest.entry, stage / manifest.entry)
        modelfile = render_modelfile(
            manifest.entry, num_ctx=manifest.max_tokens, license_text=_license(checkpoint.path)
        )
        (stage / "Modelfile").write_text(modelfile, encoding="utf-8")
        check_modelfile(stage)
        write_json(stage / "prompts.json", manifest.prompts)
        write_json(stage / "golden.json", golden)
        (stage / "README.md").write_text(_readme(manifest, verdict, tag), encoding="utf-8")
        record = PackageManifest(
            package="ollama", model_tag=tag,
            artifact_manifest_sha256=sha256_file(artifact / MANIFEST_NAME),
            artifact=manifest, verdict=verdict, files=describe_files(stage),
        )  # fmt: skip
        write_json(stage / MANIFEST_NAME, record)
    return record


def _license(folder: Path) -> str | None:
    path = next((folder / name for name in LICENSES if (folder / name).is_file()), None)
    return path.read_text(encoding="utf-8", errors="replace") if path else None


def _readme(manifest: Manifest, verdict: PackageVerdict, tag: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.package"), autoescape=False,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    query = manifest.prompts.render_query("房东不退押金怎么办")
    example = json.dumps({"model": tag, "input": query}, ensure_ascii=False)
    template = environment.get_template("ollama_readme.md.j2")
    return template.render(manifest=manifest, verdict=verdict, tag=tag, example=example)
