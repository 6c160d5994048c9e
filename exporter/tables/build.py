"""Build a table of vectors from a corpus with an artifact, or bring one up to date."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.manifest import check_files, read_manifest
from exporter.parity.results import ParityReport
from exporter.progress import Stages
from exporter.records import Record
from exporter.space import Probes
from exporter.staging import check_free_disk
from exporter.tables.columns import Columns, IndexOrigin, origin_of, with_probes
from exporter.tables.connection import SUFFIX, check_installed
from exporter.tables.lance_table import LanceTable
from exporter.tables.lance_write import (
    Row,
    add_rows,
    check_rows_for_pq,
    create_table,
    index_vectors,
    write_origin,
)
from exporter.tables.open_table import open_table, origin_in, tables_in
from exporter.tables.tolerance import tolerance_of
from exporter.tables.vector_table import BLOCK_ROWS
from exporter.vectors.embed import Engine, embed_each, encode_here
from exporter.vectors.probes import measure_probes
from exporter.vectors.rows import Rows

Documents = Mapping[str, tuple[str, str]]
"""id -> (title, text)."""


class IndexOutcome(Record):
    """What `lawvault index` did. `kept` documents were there already, `added` were embedded.

    `origin`: what the table says of itself, without its probes.
    """

    table: str
    rows: int
    dim: int
    kept: int
    added: int
    approximate: bool
    origin: IndexOrigin


def build_index(
    artifact: Path,
    documents: Documents,
    *,
    corpus: str,
    output: Path,
    table: str,
    columns: Columns,
    cache: Path,
    stages: Stages,
    report: ParityReport | None = None,
    dim: int | None = None,
    ivf_pq: bool = False,
    force: bool = False,
    engine: Engine = encode_here,
) -> IndexOutcome:
    """Write `documents` with the artifact's vectors, and what made them, to a LanceDB table.

    A table appears whole or not at all. Vectors are kept in `cache`: a run that was killed goes on
    where it was. A table that this artifact made before gets only the documents that it lacks;
    where documents changed or are gone, or something else made it, BadInput is raised unless
    `force` replaces the table. `ivf_pq` adds an approximate index with LanceDB's defaults.
    `report` says how far the artifact is from the original, which guards of the table ask.
    `engine` embeds; all give the same table.
    """
    check_installed()
    manifest = read_manifest(artifact)
    check_files(artifact, manifest)
    dim = manifest.dim if dim is None else dim
    if dim not in {manifest.dim, *manifest.matryoshka_dims}:
        known = ", ".join(map(str, sorted({manifest.dim, *manifest.matryoshka_dims}, reverse=True)))
        raise BadInput(f"--dim {dim}: '{artifact}' was trained for {known}")
    if ivf_pq:
        check_rows_for_pq(len(documents))
    ids = sorted(documents)
    origin = origin_of(
        artifact,
        manifest,
        dim=dim,
        columns=columns,
        corpus=corpus,
        corpus_sha256=documents_sha256(documents),
        documents=len(ids),
    )
    old = _existing(output, table=table, origin=origin, force=force)
    have = set() if old is None else _unchanged(old, documents)
    missing = [name for name in ids if name not in have]
    probes = None if old is None or old.origin is None else old.origin.space.probes
    if probes is None:
        probes = probes_of(artifact, origin, report, dim=dim)
    origin = with_probes(origin, probes)
    if old is not None and old.origin is not None:
        origin = origin.model_copy(update={"replaced": old.origin.replaced})
    # Vectors twice, in the cache and in the table, and an index on them.
    check_free_disk(output, len(missing) * (3 * 4 * dim + 1000))
    if missing:
        rows = _rows(artifact, documents, missing, dim, cache, stages, engine)
        if old is None:
            _install(output, table=table, origin=origin, rows=rows, ivf_pq=ivf_pq)
        else:
            add_rows(output, table=table, origin=origin, rows=rows)
    elif old is not None and old.origin != origin:
        write_origin(output, table=table, origin=origin)
    made = open_table(output, table=table, columns=columns)
    if ivf_pq and not made.vector_indexes():
        index_vectors(output, table=table, origin=origin)
        made = open_table(output, table=table, columns=columns)
    return IndexOutcome(
        table=table,
        rows=made.rows,
        dim=dim,
        kept=len(have),
        added=len(missing),
        approximate=bool(made.vector_indexes()),
        origin=with_probes(origin, None),
    )


def probes_of(
    artifact: Path, origin: IndexOrigin, report: ParityReport | None, *, dim: int
) -> Probes:
    """Run the probes of a table's space through the artifact that makes its vectors."""
    manifest = read_manifest(artifact)
    tolerance = tolerance_of(manifest, origin.manifest_sha256, report)
    with closing(artifact_source(artifact).open()) as encoder:
        return measure_probes(
            encoder, manifest.prompts, tolerance=tolerance.of, source=tolerance.source, dim=dim
        )


def documents_sha256(documents: Documents) -> str:
    """Return the hash of ids, titles and texts, whatever their order in the file."""
    content = [[name, *documents[name]] for name in sorted(documents)]
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _existing(output: Path, *, table: str, origin: IndexOrigin, force: bool) -> LanceTable | None:
    """Return the table to bring up to date, None where one is to be built."""
    if output.is_file():
        raise BadInput(f"--output '{output}' is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not tables_in(output):
        raise BadInput(
            f"--output '{output}' holds other files and no LanceDB table; name another folder"
        )
    if table not in tables_in(output) or force:
        return None
    where, made = f"'{output}' table '{table}'", origin_in(output, table)
    if made is None:
        raise BadInput(
            f"{where} exists and was not made by this version of 'lawvault index'; name another "
            "--table, pass --force to build it anew, or --replace to keep its texts"
        )
    if not made.same_vectors(origin):
        raise BadInput(
            f"{where} was made by {made.space.artifact} of {made.space.model_name} with "
            f"{made.space.dim} dimensions and document prompt {made.space.prompts.document!r}, not "
            "by this artifact as it is; name another --table, or pass --force to replace it"
        )
    return open_table(output, table=table, columns=origin.columns)


def _unchanged(old: LanceTable, documents: Documents) -> set[str]:
    """Return the ids in the table. Raises BadInput where a text there is not the corpus's."""
    have: set[str] = set()
    changed, gone = [], []
    for ids, titles, texts in old.texts():
        have.update(ids)
        for name, title, text in zip(ids, titles, texts, strict=True):
            if name not in documents:
                gone.append(name)
            elif documents[name] != (title, text):
                changed.append(name)
    if changed or gone:
        raise BadInput(
            f"the corpus changed since {old.where} was made: {len(changed):,} documents have "
            f"another text, {len(gone):,} are gone, first '{(changed or gone)[0]}'; pass --force "
            "to build it anew (vectors of unchanged texts are kept)"
        )
    return have


def _rows(
    artifact: Path,
    documents: Documents,
    ids: Sequence[str],
    dim: int,
    cache: Path,
    stages: Stages,
    engine: Engine,
) -> Iterator[Row]:
    prompts = read_manifest(artifact).prompts
    rendered = [prompts.render_document(documents[i][1], title=documents[i][0]) for i in ids]
    source = artifact_source(artifact)
    vectors = embed_each(source, rendered, cache=cache, start=stages, engine=engine).cut(dim)
    return _blocks(documents, ids, vectors=vectors, stages=stages)


def _blocks(
    documents: Documents, ids: Sequence[str], *, vectors: Rows, stages: Stages
) -> Iterator[Row]:
    progress = stages("table written", len(ids))
    for start in range(0, len(ids), BLOCK_ROWS):
        named = list(ids[start : start + BLOCK_ROWS])
        titles = [documents[name][0] for name in named]
        texts = [documents[name][1] for name in named]
        yield named, titles, texts, vectors.block(start, start + len(named))
        progress(len(named))


def _install(
    output: Path, *, table: str, origin: IndexOrigin, rows: Iterator[Row], ivf_pq: bool
) -> None:
    """Write the table beside `output` and put it there when it is complete."""
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    # One name for all runs: what a killed one left is found and removed.
    stage = output.parent / f".{output.name}.{table}.partial"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        made = create_table(stage, table=table, origin=origin, rows=rows)
        if ivf_pq:
            index_vectors(stage, table=table, origin=origin)
        output.mkdir(exist_ok=True)
        target = output / f"{table}{SUFFIX}"
        if target.exists():
            target.rename(stage / "replaced")
        made.rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
