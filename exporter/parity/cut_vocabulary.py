"""What a vocabulary that was cut does to the texts that it has to spell."""

import numpy as np

from exporter.corpus.beir import Corpus
from exporter.manifest import VocabularyRecord
from exporter.parity.compare import row_cosines, summarize_cosines
from exporter.parity.results import CutVocabulary
from exporter.parity.token_check import NAMED, TokenCheck, lost_pieces
from exporter.vectors.embed import Embedded, Texts
from exporter.vectors.search import measure, search


def measure_cut(
    record: VocabularyRecord,
    check: TokenCheck,
    ours: Embedded | None,
    *,
    truth: Embedded,
    texts: Texts,
    corpus: Corpus,
) -> CutVocabulary:
    """Return how many texts keep every piece, and how those fare that do not, at the artifact's
    width. `ours`: None where there are no usable vectors."""
    spelled = np.flatnonzero(check.spelled)
    asked = np.flatnonzero(check.spelled[texts.documents :])
    cosine = mrr = reference = None
    if ours is not None and len(spelled):
        dim = ours.documents.dim
        cosine = summarize_cosines(
            row_cosines(ours.together(dim).take(spelled), truth.together(dim).take(spelled)),
            [texts.all[i] for i in spelled],
            ids=[texts.ids[i] for i in spelled],
            kinds=[texts.kinds[i] for i in spelled],
            worst=NAMED,
        )
        ids = [corpus.query_ids[i] for i in asked]
        if ids:
            mrr, reference = (
                float(
                    measure(
                        search(queries.take(asked), documents),
                        doc_ids=corpus.doc_ids,
                        query_ids=ids,
                        qrels={name: corpus.qrels[name] for name in ids},
                    )["mrr_at_10"].mean()
                )
                for documents, queries in (ours.at(dim), truth.at(dim))
            )
    return CutVocabulary(
        pieces=record.pieces,
        of=record.of,
        documents=texts.documents,
        documents_identical=int((~check.spelled[: texts.documents]).sum()),
        questions=len(corpus.query_ids),
        questions_identical=len(corpus.query_ids) - len(asked),
        occurrences=check.pieces,
        lost=sum(check.lost.values()),
        lost_most=lost_pieces(check),
        cosine=cosine,
        mrr_at_10=mrr,
        mrr_at_10_fp32=reference,
    )
