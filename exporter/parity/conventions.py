"""What two conventions do to vectors: a window halved by saving, and stripped white space."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from exporter.checkpoint.contents import Prompts
from exporter.corpus.beir import Corpus
from exporter.parity.compare import row_cosines, summarize_cosines
from exporter.parity.lengths import Lengths
from exporter.parity.results import Stripping, WhiteSpace, WindowEffect
from exporter.parity.statistics import paired_difference
from exporter.vectors.embed import Embedded, Texts
from exporter.vectors.rows import Rows
from exporter.vectors.search import measure, search

WHITE_SPACE = (" ", "\u3000", "\n")
SAMPLE_QUESTIONS = 64

Embed = Callable[[Sequence[str]], Rows]
"""Returns the vectors of texts, one row each."""


def measure_window(
    embed_other: Embed,
    *,
    windows: tuple[int, int],
    used: int,
    truth: Embedded,
    texts: Texts,
    lengths: Lengths,
    corpus: Corpus,
) -> WindowEffect:
    """Compare the damaged window with the repaired one.

    `truth` was made with the window `used`; `embed_other` uses the other one and is asked only for
    texts long enough to meet the narrower: on all others the two are the same function.
    """
    saved, repaired = windows
    affected = np.flatnonzero(lengths.tokens > min(windows) // 2 + 1)
    unique = list(dict.fromkeys(texts.all[i] for i in affected))
    here = truth.together(truth.documents.dim)
    there = here
    cosine = None
    if unique:
        rows = embed_other(unique)
        at = {text: row for row, text in enumerate(unique)}
        places = here.places.copy()
        places[affected] = [-1 - at[texts.all[i]] for i in affected]
        there = replace(here, places=places, patch=rows.block(0, len(rows)))
        cosine = summarize_cosines(
            row_cosines(here.take(affected), there.take(affected)),
            [texts.all[i] for i in affected],
            ids=[texts.ids[i] for i in affected],
            kinds=[texts.kinds[i] for i in affected],
        )
    as_saved, as_repaired = (here, there) if used == saved else (there, here)
    documents, queries = slice(texts.documents), slice(texts.documents, None)

    def ranks(asked: Rows, index: Rows) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        values = measure(
            search(asked.take(queries), index.take(documents)),
            doc_ids=corpus.doc_ids,
            query_ids=corpus.query_ids,
            qrels=corpus.qrels,
        )
        return values["mrr_at_10"]

    base = ranks(as_saved, as_saved)
    mended = ranks(as_repaired, as_repaired)
    return WindowEffect(
        saved=saved,
        repaired=repaired,
        texts_affected=len(affected),
        cosine=cosine,
        mrr_at_10_saved=float(base.mean()),
        mrr_at_10_repaired=float(mended.mean()),
        mrr_difference=paired_difference(mended, base),
        queries_on_saved_index=paired_difference(ranks(as_repaired, as_saved), base),
    )


def measure_stripping(
    embed: Embed, *, corpus: Corpus, prompts: Prompts, truth: Embedded, texts: Texts
) -> Stripping:
    """Put white space before and after questions and compare both conventions with none.

    Up to SAMPLE_QUESTIONS questions, evenly over the corpus; searched in the index of `truth`.
    """
    at = (
        np.linspace(0, len(corpus.queries) - 1, min(SAMPLE_QUESTIONS, len(corpus.queries)))
        .round()
        .astype(int)
    )
    questions = [corpus.queries[i].strip() for i in at]
    clean = [prompts.render_query(q) for q in questions]
    kinds: list[tuple[Literal["leading", "trailing"], str]] = [
        (where, c) for where in ("leading", "trailing") for c in WHITE_SPACE
    ]
    given = [
        [prompts.render_query(c + q if where == "leading" else q + c) for q in questions]
        for where, c in kinds
    ]
    stripped = [[text.strip() for text in rendered] for rendered in given]
    every = [clean, *given, *stripped]
    unique = list(dict.fromkeys(text for group in every for text in group))
    known = embed(unique)
    row = {text: i for i, text in enumerate(unique)}
    groups = [known.take(np.array([row[text] for text in group])) for group in every]
    places = [search(group, truth.documents, k=1)[:, 0] for group in groups]
    found = []
    for i, (where, character) in enumerate(kinds):
        as_given, as_stripped = 1 + i, 1 + len(kinds) + i
        a = row_cosines(groups[as_given], groups[0])
        b = row_cosines(groups[as_stripped], groups[0])
        found.append(
            WhiteSpace(
                where=where,
                character=f"U+{ord(character):04X}",
                questions=len(questions),
                given_median=float(np.median(a)),
                given_minimum=float(a.min()),
                given_first_place_changed=int((places[as_given] != places[0]).sum()),
                stripped_median=float(np.median(b)),
                stripped_minimum=float(b.min()),
                stripped_first_place_changed=int((places[as_stripped] != places[0]).sum()),
            )
        )
    return Stripping(
        texts_affected=sum(text != text.strip() for text in texts.all), white_space=tuple(found)
    )
