"""Everything measured at one dim: an artifact against both references, and these against each
other."""

from exporter.parity.compare import Cosines, row_cosines, summarize_cosines
from exporter.parity.corpus import Corpus
from exporter.parity.embed import Embedded, Texts
from exporter.parity.judge import judge_dim
from exporter.parity.records import DimResult, NoiseFloor
from exporter.parity.retrieval import (
    Ranking,
    Values,
    first_place_changed,
    means,
    measure,
    overlap,
    search,
)
from exporter.parity.statistics import paired_difference, questions_to_decide
from exporter.recipe import Recipe


class Baseline:
    """The references, and their rankings computed once per dim.

    `truth` is torch fp32: cosines and overlap, which have no noise of their own to hide in, are to
    it. `used` is torch bf16, what the user runs: the measures of retrieval are compared with it.
    """

    def __init__(
        self, corpus: Corpus, recipe: Recipe, texts: Texts, truth: Embedded, used: Embedded
    ) -> None:
        self.corpus, self.recipe, self.texts = corpus, recipe, texts
        self.truth, self.used = truth, used
        self._found: dict[tuple[str, int], Ranking] = {}

    def judge(self, ours: Embedded, dim: int, *, scheme: str, tokens_differ: int) -> DimResult:
        """Compare one artifact at one dim with the references, and judge it."""
        limits = self.recipe.limits_for(scheme)
        documents, queries = ours.at(dim)
        reference_documents, reference_queries = self.used.at(dim)
        found, expected = search(queries, documents), self._search(self.used, dim)
        mine, theirs = self._measure(found), self._measure(expected)
        shipped = self._measure(search(queries, reference_documents))
        rebuilt = self._measure(search(reference_queries, documents))
        options = {"resamples": self.recipe.bootstrap_resamples, "seed": self.recipe.seed}
        base = theirs["mrr_at_10"]
        difference = paired_difference(mine["mrr_at_10"], base, **options)
        cosine = summarize_cosines(self._cosines(ours, dim), self.texts.all, ids=self.texts.ids)
        shared = overlap(found, self._search(self.truth, dim))
        verdict, reasons = judge_dim(
            cosine_p1=cosine.p1, overlap_at_10=shared, difference=difference,
            tokens_differ=tokens_differ, limits=limits,
            needed=questions_to_decide(mine["mrr_at_10"], base, margin=limits.mrr_at_10_margin),
        )  # fmt: skip
        return DimResult(
            dim=dim, cosine=cosine, metrics=means(mine), reference=means(theirs),
            mrr_difference=difference, overlap_at_10=shared,
            overlap_at_10_bf16=overlap(found, expected),
            first_place_changed=first_place_changed(found, expected),
            queries_on_reference_index=means(shipped),
            queries_on_reference_index_difference=paired_difference(
                shipped["mrr_at_10"], base, **options
            ),
            reference_queries_on_index=means(rebuilt),
            reference_queries_on_index_difference=paired_difference(
                rebuilt["mrr_at_10"], base, **options
            ),
            verdict=verdict, reasons=reasons,
        )  # fmt: skip

    def noise_floor(self, dim: int) -> NoiseFloor:
        """Compare torch bf16 with torch fp32 at one dim."""
        truth, used = self._search(self.truth, dim), self._search(self.used, dim)
        return NoiseFloor(
            dim=dim,
            cosine=summarize_cosines(
                self._cosines(self.used, dim), self.texts.all, ids=self.texts.ids
            ),
            mrr_at_10_fp32=float(self._measure(truth)["mrr_at_10"].mean()),
            mrr_at_10_bf16=float(self._measure(used)["mrr_at_10"].mean()),
            overlap_at_10=overlap(used, truth),
        )

    def _search(self, of: Embedded, dim: int) -> Ranking:
        key = (of.name, dim)
        if key not in self._found:
            documents, queries = of.at(dim)
            self._found[key] = search(queries, documents)
        return self._found[key]

    def _measure(self, found: Ranking) -> dict[str, Values]:
        c = self.corpus
        return measure(found, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)

    def _cosines(self, ours: Embedded, dim: int) -> Cosines:
        return row_cosines(ours.together(dim), self.truth.together(dim))
