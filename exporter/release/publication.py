"""What would be published, and the checks that hold for every target."""

from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput, GateClosed
from exporter.manifest import Manifest, checkpoint_difference
from exporter.packages.manifest import PackageManifest
from exporter.packages.sums import check_sums
from exporter.packages.terms import Terms, licence_of
from exporter.packages.verify import read_package
from exporter.records import Record

Content = Path | bytes
"""A file to upload: where it lies, or what it holds."""


class PublishedFile(Record):
    """A file at the target. `texts`: how many of the user's own documents and questions it
    shows."""

    path: str
    size_bytes: int
    texts: int = 0


class Publication(Record):
    """What would be uploaded. `overridden`: packages without a pass, and the reason given.
    `commands`: what is run where a target's own client does it. `remarks`: what it lacks."""

    target: str
    repository: str
    private: bool = False
    licence: str
    packages: tuple[str, ...]
    overridden: dict[str, str]
    files: tuple[PublishedFile, ...]
    commands: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def texts(self) -> int:
        """Return the user's own texts that any file shows, the same one counted in each."""
        return sum(file.texts for file in self.files)


def sound_package(
    package: Path, *, checkpoint: Checkpoint, override_reason: str | None
) -> tuple[PackageManifest, str | None]:
    """Return a package's manifest, and why it is published without a pass: None where it passed.

    Raises BadInput for one that is damaged or was made from another checkpoint, whose terms would
    not be its own; GateClosed for one that did not pass unless the reason that it was packaged for
    is given again.
    """
    refuse_link(package)
    problems = check_sums(package)
    if problems:
        raise BadInput(f"'{package}' is not what was packaged ({problems[0]}); package it again")
    manifest = read_package(package)
    for entry in manifest.artifacts:
        _check_same(package, entry.artifact, checkpoint)
    return manifest, _reason(package, manifest, override_reason)


def refuse_link(path: Path) -> None:
    """Raise BadInput for a link: what lies elsewhere is not published by an oversight."""
    if path.is_symlink():
        raise BadInput(
            f"'{path}' is a link; put there what it leads to, if that is to be published"
        )


def _check_same(package: Path, artifact: Manifest, checkpoint: Checkpoint) -> None:
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    theirs = {record.path: record.sha256 for record in artifact.checkpoint_files}
    # Its card decides no vector, and a licence may be added to it at any time.
    different = checkpoint_difference(ours, theirs, besides=("README.md",))
    if different is not None:
        raise BadInput(
            f"'{package}' was not made from '{checkpoint.path}': {different} differs; pass the "
            "--checkpoint that it was made from, whose terms hold for it"
        )


def _reason(package: Path, manifest: PackageManifest, given: str | None) -> str | None:
    for entry in manifest.artifacts:
        verdict = entry.verdict
        if verdict.verdict == "pass":
            continue
        if verdict.override_reason is None or given != verdict.override_reason:
            raise GateClosed(
                f"'{package}' holds {entry.artifact.name}, which did not pass ({verdict.verdict}); "
                "to publish it give again the reason that it was packaged for: "
                f"--override-verdict {verdict.override_reason!r}"
            )
        return given
    return None


def stated_licence(card: Path, terms: Terms) -> str:
    """Return the card's licence. Raises BadInput where it is none, or another than the model's."""
    licence = licence_of(card)
    if licence and terms.licence is not None and licence != terms.licence:
        raise BadInput(
            f"'{card}' states the licence {licence}, the checkpoint's own card {terms.licence}; "
            "mend one of them"
        )
    return held_licence(licence, terms, f"'{card}'")


def held_licence(licence: str | None, terms: Terms, where: str) -> str:
    """Return the licence that a card states. `where`: its place, for a message. Raises BadInput
    where it is none, or the base model's terms bind to another."""
    if not licence:
        raise BadInput(f"{where} states no licence; fill in one as 'license:' in its front matter")
    if terms.gemma and licence != "gemma":
        raise BadInput(
            f"{where} states the licence {licence}, but the base model is Gemma's, whose terms "
            "bind what is made of it: state 'license: gemma' in both cards"
        )
    return licence


def size_of(content: Content) -> int:
    """Return the bytes of a file to upload."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size
