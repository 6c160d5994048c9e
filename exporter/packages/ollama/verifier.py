"""A package for Ollama: what of it is run, and its GGUF in llama.cpp against golden vectors."""

from contextlib import closing
from pathlib import Path

from exporter.errors import BadInput
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.ollama.packager import what_is_run
from exporter.packages.terms import LICENCE_FILES
from exporter.packages.verify import Proof


def verify_gguf(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load the packaged file and compare, where nothing that `create.sh` runs is another's.

    Raises BadInput or MissingDependency.
    """
    foreign = foreign_parts(folder, entry)
    if foreign:
        return [Proof("scripts", foreign)]
    with closing(LlamaCppEncoder(folder, manifest=entry.artifact, threads=threads)) as encoder:
        return [
            Proof("scripts", (), told="Modelfile and scripts are those that this version writes"),
            Proof("golden", check_golden(golden, encoder)),
        ]


def foreign_parts(folder: Path, entry: PackagedArtifact) -> list[str]:
    """Return a line for each file that a user runs, or Ollama reads, and that this version of the
    tool would not write for this artifact: SHA-256 sums can be made anew by anyone."""
    licences = [folder / name for name in LICENCE_FILES if (folder / name).is_file()]
    # A package always has a licence file; the Modelfile holds it where the checkpoint had it.
    texts = [None, *(path.read_text("utf-8-sig", errors="replace") for path in licences[:1])]
    lines = []
    for name in what_is_run(entry.artifact, None):
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        if not any(content == _expected(entry, text).get(name) for text in texts):
            lines.append(
                f"'{name}' is not what this version of the tool writes; package again, and do not "
                "run it"
            )
    return lines


def _expected(entry: PackagedArtifact, licence_text: str | None) -> dict[str, bytes]:
    try:
        return what_is_run(entry.artifact, licence_text)
    except BadInput:  # no Modelfile could hold it, so none does
        return {}
