"""What a table of vectors says about itself, and which of its columns hold what."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, Manifest, space_of
from exporter.records import Record
from exporter.space import Probes, Space

METADATA_KEY = b"lawvault"
"""Of the vector column's field metadata, which travels with the table wherever it is copied."""


class Columns(Record):
    """Names of a table's columns. Without `text` its vectors cannot be made again."""

    id: str = "chunk_id"
    vector: str = "vector"
    text: str | None = None
    title: str | None = None


class IndexOrigin(Record):
    """What a table was made from. `space`: everything that decides its vectors.

    `corpus_sha256` is that of ids, titles and texts, not of questions.
    """

    schema_version: Literal[2] = 2
    tool_version: str
    space: Space
    scheme: str
    manifest_sha256: str
    columns: Columns
    corpus: str
    corpus_sha256: str
    documents: int
    replaced: int | None = None
    """The version of the table that holds the vectors which these replaced."""

    def same_vectors(self, other: "IndexOrigin") -> bool:
        """Return whether both describe the same vectors of whatever texts."""
        open_ended = {"tool_version", "space", "corpus", "corpus_sha256", "documents", "replaced"}
        return self.space.without_probes() == other.space.without_probes() and self.model_dump(
            exclude=open_ended
        ) == other.model_dump(exclude=open_ended)


def origin_of(
    artifact: Path,
    manifest: Manifest,
    *,
    dim: int,
    columns: Columns,
    corpus: str,
    corpus_sha256: str,
    documents: int,
) -> IndexOrigin:
    """Return what a table made with `artifact` says about itself; its probes are not measured."""
    space = space_of(manifest)
    dims = tuple(width for width in space.dims if width <= dim)
    return IndexOrigin(
        tool_version=manifest.tool_version,
        space=space.model_copy(update={"dim": dim, "dims": dims}),
        scheme=manifest.scheme,
        manifest_sha256=sha256_file(artifact / MANIFEST_NAME),
        columns=columns,
        corpus=corpus,
        corpus_sha256=corpus_sha256,
        documents=documents,
    )


def with_probes(origin: IndexOrigin, probes: Probes | None) -> IndexOrigin:
    """Return an origin whose space holds `probes`."""
    return origin.model_copy(update={"space": origin.space.model_copy(update={"probes": probes})})


def parse_origin(metadata: dict[bytes, bytes] | None) -> IndexOrigin | None:
    """Return the origin in a field's metadata, None where this tool wrote none it can read."""
    written = (metadata or {}).get(METADATA_KEY)
    if written is None:
        return None
    try:
        return IndexOrigin.model_validate_json(written)
    except ValidationError:
        # A later version's: its table is then judged by its texts alone.
        return None
