"""The model card's own table: how well a checkpoint retrieves, and by how much better than another.

Both are run in torch bf16, which is what their user runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from exporter import __version__
from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import Corpus
from exporter.errors import BadInput, GateClosed
from exporter.evaluation.table import EvaluatedModel, Evaluation, QuestionRanks
from exporter.manifest import library_versions
from exporter.parity.run import REFERENCE_LIBRARIES
from exporter.parity.statistics import compare_measures, exact_mcnemar, mean_interval
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original
from exporter.tables.judgement import OriginCheck
from exporter.tables.origin import check_origin, check_width
from exporter.tables.search import scan_table, search_table
from exporter.tables.vector_table import Metric, VectorTable
from exporter.vectors.embed import Embedded, Engine, Texts, embed_each, embed_texts, encode_here
from exporter.vectors.search import Ranking, Values, measure, search

MEASURES = ("hit_at_10", "top_1", "mrr_at_10", "ndcg_at_10")


@dataclass(frozen=True)
class RankedQuestions:
    """A ranking (q, 10) and its measures, each (q,)."""

    ranking: Ranking
    values: Mapping[str, Values]


def evaluate(
    original: Original,
    corpus: Corpus,
    *,
    recipe: Recipe,
    stages: Stages,
    cache: Path,
    against: Original | None = None,
    table: VectorTable | None = None,
    metric: Metric = "l2",
    document_prompt: str | None = None,
    engine: Engine = encode_here,
) -> Evaluation:
    """Return what `original` finds of `corpus`, and `against`, where given, with the differences.

    `engine` embeds documents and questions; all find the same. With `table` the documents' vectors
    are the table's, which must hold exactly the corpus, and questions are embedded here. Raises
    BadInput where it does not, GateClosed where it was not made with this checkpoint and prompt.
    """
    checkpoint = original.checkpoint
    retrieve = partial(_retrieve, corpus=corpus, stages=stages, cache=cache, engine=engine)
    origin = None
    if table is None:
        ours = retrieve(original, dim=checkpoint.dim)
    else:
        ours, origin = _retrieve_from_table(
            original,
            corpus,
            table,
            recipe=recipe,
            metric=metric,
            stages=stages,
            cache=cache,
            document_prompt=document_prompt or checkpoint.prompts.document,
        )
    dim = checkpoint.dim if table is None else table.dim
    theirs = None
    if against is not None:
        width = dim if table is not None else against.checkpoint.dim
        theirs = retrieve(against, dim=width)
    return Evaluation(
        tool_version=__version__,
        libraries=library_versions(REFERENCE_LIBRARIES),
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        documents=len(corpus.doc_ids),
        questions=len(corpus.query_ids),
        dim=dim,
        table=table.name if table else None,
        origin=origin,
        model=_model(checkpoint, ours),
        base=_model(against.checkpoint, theirs) if against and theirs else None,
        differences=compare_measures(ours.values, theirs.values) if theirs else None,
        mcnemar=exact_mcnemar(ours.values["top_1"], theirs.values["top_1"]) if theirs else None,
        ranks=_ranks(corpus, ours, theirs),
    )


def _retrieve(
    original: Original, *, corpus: Corpus, dim: int, stages: Stages, cache: Path, engine: Engine
) -> RankedQuestions:
    checkpoint = original.checkpoint
    if dim > checkpoint.dim:
        raise BadInput(f"'{checkpoint.name}' has only {checkpoint.dim} dimensions, not {dim}")
    texts = Texts(corpus, checkpoint.prompts)
    rows = embed_texts(original.used, texts.unique, cache=cache, start=stages, engine=engine)
    embedded: Embedded = texts.spread(rows)
    documents, queries = embedded.at(dim)
    return _found(corpus, search(queries, documents))


def _retrieve_from_table(
    original: Original,
    corpus: Corpus,
    table: VectorTable,
    *,
    recipe: Recipe,
    metric: Metric,
    document_prompt: str,
    stages: Stages,
    cache: Path,
) -> tuple[RankedQuestions, OriginCheck]:
    checkpoint = original.checkpoint
    check_width(table, checkpoint)
    scan = scan_table(table, progress=stages(f"{table.name}: read", table.rows))
    check_same_documents(table, scan.ids, corpus)
    embed = partial(embed_each, cache=cache, start=stages)
    origin = check_origin(
        table,
        original=original,
        document_prompt=document_prompt,
        recipe=recipe,
        embed=embed,
        stages=stages,
    )
    if origin.status == "refuted":
        raise GateClosed(f"{table.where}: {'; '.join(origin.reasons)}")
    rendered = [checkpoint.prompts.render_query(text) for text in corpus.queries]
    rows = embed(original.used, rendered).cut(table.dim)
    found = search_table(
        table,
        scan,
        {"": rows.block(0, len(rows))},
        metrics=(metric,),
        progress=stages(f"{table.name}: exact search", table.rows),
    )
    # Both name documents by their place among the ascending ids, which are the same.
    return _found(corpus, found["", metric]), origin


def check_same_documents(table: VectorTable, ids: Sequence[str], corpus: Corpus) -> None:
    """Raise BadInput where the table holds other documents than the corpus, or other texts."""
    remedy = "build the table anew with 'lawvault index', or leave out --index"
    lacking = sorted(set(corpus.doc_ids) - set(ids))
    extra = sorted(set(ids) - set(corpus.doc_ids))
    if lacking or extra:
        first = f"'{lacking[0]}'" if lacking else f"'{extra[0]}'"
        raise BadInput(
            f"{table.where} is not of this corpus, or it changed since: the table lacks "
            f"{len(lacking):,} of its documents and has {len(extra):,} others, first {first}; "
            + remedy
        )
    if table.columns.text is None:
        return
    known = dict(zip(corpus.doc_ids, zip(corpus.titles, corpus.texts, strict=True), strict=True))
    changed = []
    for block, titles, texts in table.texts():
        for name, title, text in zip(block, titles, texts, strict=True):
            expected = known[name]
            if text != expected[1] or (table.columns.title and title != expected[0]):
                changed.append(name)
    if changed:
        raise BadInput(
            f"{table.where}: the corpus changed since it was made: {len(changed):,} documents have "
            f"another text, first '{changed[0]}'; {remedy}"
        )


def _found(
    corpus: Corpus, ranking: np.ndarray[tuple[int, int], np.dtype[np.int64]]
) -> RankedQuestions:
    values = measure(
        ranking, doc_ids=corpus.doc_ids, query_ids=corpus.query_ids, qrels=corpus.qrels
    )
    return RankedQuestions(ranking, values)


def _model(checkpoint: Checkpoint, found: RankedQuestions) -> EvaluatedModel:
    return EvaluatedModel(
        name=checkpoint.name,
        checkpoint_files={path: digest for path, _, digest in checkpoint.file_hashes()},
        query_prompt=checkpoint.prompts.query,
        document_prompt=checkpoint.prompts.document,
        window_used=checkpoint.window_used,
        **{name: mean_interval(found.values[name]) for name in MEASURES},
    )


def _ranks(
    corpus: Corpus, ours: RankedQuestions, theirs: RankedQuestions | None
) -> tuple[QuestionRanks, ...]:
    def place(found: RankedQuestions, at: int) -> int | None:
        reciprocal = float(found.values["mrr_at_10"][at])
        return round(1 / reciprocal) if reciprocal else None

    return tuple(
        QuestionRanks(
            id=query,
            question=corpus.queries[at],
            answers=tuple(d for d, grade in sorted(corpus.qrels[query].items()) if grade > 0),
            first=corpus.doc_ids[int(ours.ranking[at, 0])],
            rank=place(ours, at),
            base_rank=place(theirs, at) if theirs else None,
        )
        for at, query in enumerate(corpus.query_ids)
    )
