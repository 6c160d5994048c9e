"""How small an index of one's own documents may be: every width, codec and index, judged."""

import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter import __version__
from exporter.corpus.beir import Corpus
from exporter.corpus.questions import Questions
from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.manifest import Manifest, library_versions, read_manifest
from exporter.parity.judge import margin_of
from exporter.parity.statistics import mean_interval, non_inferiority, paired_difference
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.staging import check_free_disk
from exporter.tables.codecs import REFERENCES, nearest, unit
from exporter.tables.connection import check_installed
from exporter.tables.index_size import (
    APPROXIMATE,
    IndexSizeReport,
    IndexSizeRun,
    SizedSearch,
    Way,
    WayTime,
    components_of,
    ways_of,
)
from exporter.tables.index_size_store import SizedStore
from exporter.tables.lance_write import LEAST_ROWS_FOR_PQ
from exporter.tables.vector_table import VectorTable
from exporter.vectors.embed import embed_each
from exporter.vectors.rows import Vectors
from exporter.vectors.search import Ranking, Values, overlap, search

NOTHING = -1
FEWEST = 20
LIBRARIES = ("lancedb", "pyarrow", "numpy")
JUDGED_AS = "int8"
"""The scheme whose margin of MRR@10 holds: the recipe has none for vectors."""


@dataclass(frozen=True)
class SizedInput:
    """Documents, (n, dim) float32 of length 1, questions likewise, and which documents are right
    for each; None: float32's first is. `source` names the corpus or table."""

    source: str
    documents: Vectors
    questions: Vectors
    answers: Sequence[Collection[int]] | None


def of_corpus(
    artifact: Path, corpus: Corpus, *, name: str, cache: Path, stages: Stages
) -> SizedInput:
    """Embed a corpus and its questions with an artifact. Questions without a judged answer are left
    out."""
    prompts = read_manifest(artifact).prompts
    number = {name: i for i, name in enumerate(corpus.doc_ids)}
    answers, asked = [], []
    for query, text in zip(corpus.query_ids, corpus.queries, strict=True):
        right = {number[d] for d, grade in corpus.qrels.get(query, {}).items() if grade > 0}
        if right:
            answers.append(right)
            asked.append(prompts.render_query(text))
    held = [
        prompts.render_document(text, title=title)
        for text, title in zip(corpus.texts, corpus.titles, strict=True)
    ]
    rows = embed_each(artifact_source(artifact), [*held, *asked], cache=cache, start=stages)
    return SizedInput(name, rows.block(0, len(held)), rows.block(len(held), len(rows)), answers)


def of_table(
    artifact: Path, table: VectorTable, questions: Questions, *, cache: Path, stages: Stages
) -> SizedInput:
    """Read a table's vectors, and embed the questions with an artifact. Raises BadInput where the
    artifact's vectors are narrower than the table's, and for vectors that cannot be searched."""
    manifest = read_manifest(artifact)
    if table.dim not in {manifest.dim, *manifest.matryoshka_dims}:
        raise BadInput(
            f"{table.where} has vectors of {table.dim} components, '{artifact}' gives "
            f"{manifest.dim}; pass the artifact whose questions it is asked"
        )
    progress = stages(f"{table.name}: read", table.rows)
    blocks = []
    for ids, block in table.vectors():
        norms = np.linalg.norm(block.astype(np.float64), axis=1)
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        if bad.size:
            raise BadInput(
                f"{table.where}: the vector of id '{ids[int(bad[0])]}' is zero or not finite; "
                "embed its row again, or delete it ('lawvault doctor' names all)"
            )
        blocks.append(unit(block, table.dim))
        progress(len(ids))
    prompts = manifest.prompts
    asked = [prompts.render_query(text) for text in questions.texts]
    rows = embed_each(artifact_source(artifact), asked, cache=cache, start=stages).cut(table.dim)
    return SizedInput(table.where, np.concatenate(blocks), rows.block(0, len(rows)), None)


def run_index_size(
    artifact: Path,
    given: SizedInput,
    *,
    dims: Sequence[int] | None,
    recipe: Recipe,
    machine: str,
    stages: Stages,
    work: Path,
) -> tuple[IndexSizeReport, IndexSizeRun]:
    """Search in every way, through LanceDB, and judge each by the recipe's margin of MRR@10.

    `dims`: widths, all that were trained for None. `work`: where a table of about three times the
    vectors' bytes may lie for the time being. Raises BadInput for another width, or too few rows.
    """
    check_installed()
    if len(given.documents) < FEWEST:
        raise BadInput(
            f"{given.source} has {len(given.documents)} documents; with fewer than {FEWEST} the "
            "first ten say nothing"
        )
    manifest = read_manifest(artifact)
    count, full = given.documents.shape
    widths = _widths(manifest, full, dims)
    ways, left_out = _possible(ways_of(widths, full=full), rows=count)
    check_free_disk(work, count * (10 * full + 7 * sum(widths)) + (1 << 24))
    exact = search(given.questions, given.documents)
    answers = given.answers or [{int(row[0])} for row in exact]
    base = reciprocal(exact, answers)
    margin = margin_of(recipe.limits_for(JUDGED_AS), "both", reference=float(base.mean()))
    searches, times = [], []
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=".index-size.") as folder:
        store = SizedStore(Path(folder), given.documents, widths)
        progress = stages("ways searched", len(ways))
        for way in ways:
            scanned, stored, seconds = store.prepare(way)
            found, took = _ask(store, way, given.questions)
            times.append(WayTime(way=way, build_seconds=round(seconds, 1), query_ms=took))
            mine = reciprocal(found, answers)
            difference = paired_difference(mine, base)
            searches.append(
                SizedSearch(
                    way=way,
                    scanned=round(scanned, 1),
                    stored=round(stored, 1),
                    mrr_at_10=float(mine.mean()),
                    difference=difference,
                    overlap_at_10=mean_interval(overlap(exact, found)),
                    numpy_overlap_at_10=_in_numpy(way, given, found),
                    verdict=non_inferiority(difference, margin=margin),
                )
            )
            progress(1)
    report = IndexSizeReport(
        tool_version=__version__,
        artifact=manifest.name,
        source=given.source,
        rows=count,
        dim=full,
        questions=len(given.questions),
        judged=given.answers is not None,
        mrr_at_10=float(base.mean()),
        margin=margin,
        libraries=library_versions(LIBRARIES),
        searches=tuple(searches),
        left_out=left_out,
    )
    return report, IndexSizeRun(machine=machine, times=tuple(times))


def reciprocal(found: Ranking, answers: Sequence[Collection[int]]) -> Values:
    """Return 1 / the place of the first right document among the ten, 0 where none is. found: (q,
    10)."""
    made = np.zeros(len(found))
    for i, (row, right) in enumerate(zip(found.tolist(), answers, strict=True)):
        made[i] = next((1 / place for place, one in enumerate(row, 1) if one in right), 0.0)
    return made


def _widths(manifest: Manifest, full: int, dims: Sequence[int] | None) -> tuple[int, ...]:
    known = sorted({d for d in manifest.matryoshka_dims if d <= full} | {full}, reverse=True)
    for dim in dims or ():
        if dim not in known:
            raise BadInput(
                f"--dims {dim} is none that '{manifest.name}' was trained for and these vectors "
                f"have (known: {', '.join(map(str, known))})"
            )
    return tuple(known if dims is None else sorted(set(dims), reverse=True))


def _possible(ways: list[Way], *, rows: int) -> tuple[list[Way], tuple[str, ...]]:
    """Return the ways that so many rows allow, and what is left out and why."""
    if rows < LEAST_ROWS_FOR_PQ:
        left_out = (
            f"{', '.join(APPROXIMATE)}: {rows} rows cannot train them, {LEAST_ROWS_FOR_PQ} are "
            "needed",
        )
        return [way for way in ways if not way.approximate], left_out
    uneven = [way for way in ways if way.dim % components_of(way.codec)]
    named = sorted({(way.codec, way.dim) for way in uneven})
    return [way for way in ways if way not in uneven], tuple(
        f"{codec} at {dim} dims, which it does not divide" for codec, dim in named
    )


def _ask(store: SizedStore, way: Way, questions: Vectors) -> tuple[Ranking, float]:
    """Return what each question finds, (q, 10), and the median of milliseconds."""
    found = np.full((len(questions), 10), NOTHING, np.int64)
    took = []
    store.search(way, questions[0])  # what is read from disk once is no query's time
    for i, question in enumerate(questions):
        began = time.perf_counter()
        rows = store.search(way, question)
        took.append(1000 * (time.perf_counter() - began))
        found[i, : len(rows)] = rows
    return found, round(float(np.median(took)), 3)


def _in_numpy(way: Way, given: SizedInput, found: Ranking) -> float | None:
    if way.codec not in REFERENCES or way.copy_of != "none":
        return None
    documents, questions = unit(given.documents, way.dim), unit(given.questions, way.dim)
    return float(overlap(nearest(way.codec, documents, questions), found).mean())
