"""Put a package together: what is the same for every consumer."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.errors import BadInput
from exporter.guards.files import FOLDER, copy_guards
from exporter.hashing import sha256_file
from exporter.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_files,
    checkpoint_difference,
    describe_files,
    read_manifest,
    space_of,
)
from exporter.markdown_text import harmless
from exporter.packages.golden import Golden
from exporter.packages.manifest import PackagedArtifact, PackageManifest
from exporter.packages.sums import write_sums
from exporter.packages.terms import GEMMA_NOTICE, GEMMA_TERMS, read_terms
from exporter.packages.verdict import PackageVerdict, check_verdict
from exporter.recipe import Language
from exporter.records import Record, write_json
from exporter.space import SPACE_NAME, Probes
from exporter.staging import check_free_disk, check_output, staged_folder
from exporter.templates import environment

Settings = Mapping[str, Any]
"""What the options of one consumer's own say, by their names."""


@dataclass(frozen=True)
class Judged:
    """An artifact's folder, the verdict on exactly its bytes, its golden vectors, and the probes of
    its space."""

    folder: Path
    verdict: PackageVerdict
    golden: Golden
    probes: Probes

    @property
    def manifest(self) -> Manifest:
        """Return its manifest. Raises BadInput."""
        return read_manifest(self.folder)


@dataclass(frozen=True)
class Filling:
    """What a packager writes into: `stage`, an empty folder, for these artifacts.

    `room`: the Python package of the consumer, in whose `templates/` its templates lie.

    `licence`: name of the licence file of the package; `licence_text`: the checkpoint's own, None
    where it holds none. `settings`: the consumer's own options.
    """

    room: str
    stage: Path
    artifacts: tuple[Judged, ...]
    checkpoint: Checkpoint
    licence: str
    licence_text: str | None
    settings: Settings = field(default_factory=dict)
    language: Language = "en"

    def write(self, template: str, name: str, **values: Any) -> None:
        """Render `template` of this package into the file `name`, lines ending in newlines.

        One for the package's language, as readme.zh.md.j2 for readme.md.j2, goes before it.
        """
        found = environment(self.room, __package__, escape=False, trim=False)
        stem, _, rest = template.partition(".")
        names = [f"{stem}.{self.language}.{rest}", template]
        text = found.select_template(names).render(licence=self.licence, **values)
        if name.endswith(".md"):
            text = harmless(text)
        path = self.stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class Packager:
    """One consumer. `fill` writes its files and returns, for each artifact, the model's file.

    `several`: whether one package holds artifacts of several schemes; `schemes`: those that the
    consumer has a name for, None for all of its format. `tag`: the name of the model on a server.
    """

    name: str
    room: str
    format: str
    fill: Callable[[Filling], Sequence[str]]
    hint: str
    """Why another format is refused, and what to export instead."""
    verify: str = ""
    """Runs a package of this consumer: `module:attribute` of a `verify.VerifyPackaged`."""
    several: bool = False
    schemes: tuple[str, ...] | None = None
    tag: Callable[[Manifest], str] | None = None
    check: Callable[[Sequence[Path], Sequence[Manifest], Settings], None] | None = None
    """Raises BadInput or MissingDependency for what else the consumer does not take."""
    environment: Callable[[], str] | None = None
    """What on this machine decides the package's content, besides the artifacts."""
    shown_texts: Callable[[Path], int] | None = None
    """How many of the user's own texts a finished package shows; None for a consumer of none."""
    remark: Callable[[Path], str] | None = None
    """What a finished package lacks and how to get it, empty where it lacks nothing."""


def assemble(
    packager: Packager,
    artifacts: Sequence[Judged],
    output: Path,
    *,
    checkpoint: Checkpoint,
    force: bool = False,
    settings: Settings | None = None,
    language: Language = "en",
) -> PackageManifest:
    """Write the package of `artifacts` to `output` and return its manifest. Same input, same bytes.

    `language`: of its README.

    Raises GateClosed for an artifact that did not pass, BadInput for one that the consumer does not
    take, whose files are damaged, or that is not the one `checkpoint` and its golden vectors are
    about.
    """
    manifests = [judged.manifest for judged in artifacts]
    for judged, manifest in zip(artifacts, manifests, strict=True):
        check_taken(packager, judged.folder, manifest)
        check_verdict(judged.verdict, judged.folder)
        check_files(judged.folder, manifest)
        check_checkpoint(judged.folder, manifest, checkpoint)
        _check_golden(judged.folder, manifest, judged.golden)
    check_together(packager, [judged.folder for judged in artifacts], manifests, settings or {})
    text = _licence_text(checkpoint)
    check_output(output, force=force)
    check_free_disk(output, int(sum(m.size_bytes for m in manifests) * 1.05) + (1 << 20))
    with staged_folder(output, force=force) as stage:
        licence = _write_licence(stage, checkpoint)
        filling = Filling(
            packager.room,
            stage,
            tuple(artifacts),
            checkpoint,
            licence,
            text,
            settings or {},
            language,
        )
        files = packager.fill(filling)
        write_json(stage / "prompts.json", written_out(manifests[0].prompts))
        entries = []
        for judged, manifest, file in zip(artifacts, manifests, files, strict=True):
            alone = len(artifacts) == 1
            golden = "golden.json" if alone else f"golden/{manifest.name}.json"
            space = SPACE_NAME if alone else f"space/{manifest.name}.json"
            for path in (golden, space):
                (stage / path).parent.mkdir(exist_ok=True)
            write_json(stage / golden, judged.golden)
            found = space_of(manifest).model_copy(update={"probes": judged.probes})
            write_json(stage / space, found)
            entries.append(
                PackagedArtifact(
                    artifact=manifest,
                    verdict=judged.verdict,
                    file=file,
                    golden=golden,
                    space=space,
                    artifact_manifest_sha256=sha256_file(judged.folder / MANIFEST_NAME),
                )
            )
        (stage / FOLDER).mkdir()
        copy_guards(stage / FOLDER)
        record = PackageManifest(
            package=packager.name,
            model_tag=packager.tag(manifests[0]) if packager.tag else None,
            artifacts=tuple(entries),
            files=describe_files(stage),
        )
        write_json(stage / MANIFEST_NAME, record)
        write_sums(stage)
    return record


class WrittenPrompts(Record):
    """The prompts of a package, as its clients apply them: every template names `{text}`, and a
    document without a title has one of its own, so that a client need know no rule."""

    query: str
    document: str
    document_without_title: str


def written_out(prompts: Prompts) -> WrittenPrompts:
    """Return the prompts as a package holds them."""
    query, document = (
        template if "{text}" in template else template + "{text}"
        for template in (prompts.query, prompts.document)
    )
    return WrittenPrompts(
        query=query,
        document=document,
        document_without_title=prompts.render_document("{text}", title=""),
    )


def check_taken(packager: Packager, folder: Path, manifest: Manifest) -> None:
    """Raise BadInput for an artifact that the consumer cannot load or has no name for."""
    if manifest.format != packager.format:
        raise BadInput(f"'{folder}' is {manifest.format}; {packager.hint}")
    if packager.schemes is not None and manifest.scheme not in packager.schemes:
        raise BadInput(
            f"'{folder}' is {manifest.scheme}; {packager.name} has names for "
            f"{', '.join(packager.schemes)}"
        )


def check_together(
    packager: Packager, folders: Sequence[Path], manifests: Sequence[Manifest], settings: Settings
) -> None:
    """Raise BadInput for artifacts that do not fit into one package, or that the consumer refuses
    with these settings."""
    if len(folders) > 1 and not packager.several:
        raise BadInput(f"a package for {packager.name} holds one artifact; package each by itself")
    schemes = [manifest.scheme for manifest in manifests]
    twice = next((i for i, scheme in enumerate(schemes) if scheme in schemes[:i]), None)
    if twice is not None:
        raise BadInput(
            f"'{folders[twice]}' and '{folders[schemes.index(schemes[twice])]}' are both "
            f"{schemes[twice]}; a package for {packager.name} holds one of each"
        )
    other = next((i for i, m in enumerate(manifests) if m.dim != manifests[0].dim), None)
    if other is not None:
        raise BadInput(
            f"'{folders[other]}' has {manifests[other].dim} dimensions, '{folders[0]}' "
            f"{manifests[0].dim}; a package holds vectors of one width"
        )
    other = next(
        (i for i, m in enumerate(manifests) if m.vocabulary != manifests[0].vocabulary), None
    )
    if other is not None:
        raise BadInput(
            f"'{folders[other]}' and '{folders[0]}' have different vocabularies, and a package "
            "holds one tokenizer; package each by itself"
        )
    if packager.check is not None:
        packager.check(folders, manifests, settings)


def check_checkpoint(artifact: Path, manifest: Manifest, checkpoint: Checkpoint) -> None:
    """Raise BadInput for an artifact of another checkpoint: its vectors would prove nothing."""
    theirs = {f.path: f.sha256 for f in manifest.checkpoint_files}
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    different = checkpoint_difference(ours, theirs)
    if different is not None:
        raise BadInput(
            f"'{artifact}' was not made from '{checkpoint.path}': {different} differs; "
            "pass the right --checkpoint, or export again"
        )
    if manifest.window.used != checkpoint.window_used:
        raise BadInput(
            f"'{artifact}' was exported with a sliding window of {manifest.window.used}, the "
            f"checkpoint was read with {checkpoint.window_used}; pass the same --window"
        )


def _check_golden(artifact: Path, manifest: Manifest, golden: Golden) -> None:
    """Raise BadInput for golden vectors of another artifact, or for other prompts."""
    if (golden.query_prompt, golden.document_prompt) != (
        manifest.prompts.query,
        manifest.prompts.document,
    ):
        raise BadInput(
            f"'{artifact}' was exported for the prompts query={manifest.prompts.query!r}, "
            f"document={manifest.prompts.document!r}, the golden vectors for "
            f"query={golden.query_prompt!r}, document={golden.document_prompt!r}; pass the same "
            "--prompts, or export again"
        )
    if golden.artifact != manifest.name:
        raise BadInput(f"the golden vectors are those of {golden.artifact}, not {manifest.name}")


def _licence_text(checkpoint: Checkpoint) -> str | None:
    files = read_terms(checkpoint).files
    if not files:
        return None
    path = checkpoint.path / files[0]
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"'{path}' is not UTF-8; save it again as UTF-8") from None


def _write_licence(stage: Path, checkpoint: Checkpoint) -> str:
    """Copy the checkpoint's licence files; where there are none, write what its card states."""
    terms = read_terms(checkpoint)
    for name in terms.files:
        shutil.copyfile(checkpoint.path / name, stage / name)
    if terms.files:
        return terms.files[0]
    stated = terms.licence or "no licence"
    named = f" ({terms.name})" if terms.name else ""
    lines = [
        f"The model card of {checkpoint.name} states: {stated}{named}.",
        *([f"Text: {terms.link}"] if terms.link else []),
        *([f"Base model: {', '.join(terms.base_models)}"] if terms.base_models else []),
        *([GEMMA_NOTICE + ".", f"Text: {GEMMA_TERMS}"] if terms.gemma else []),
        "The checkpoint holds no licence file; its author's terms and its base model's apply.",
    ]
    (stage / "LICENSE").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return "LICENSE"
