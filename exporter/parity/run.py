"""Run parity: embed a corpus with the references and with each artifact, compare, judge."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from exporter import __version__
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import MANIFEST_NAME, Manifest, read_manifest, sha256_file
from exporter.parity.compare import (
    Vectors,
    first_token_difference,
    row_cosines,
    summarize_cosines,
)
from exporter.parity.corpus import Corpus
from exporter.parity.judge import judge_dim, worst_verdict
from exporter.parity.records import ArtifactResult, DimResult, NoiseFloor, ParityReport
from exporter.parity.retrieval import means, measure, overlap, search
from exporter.parity.statistics import paired_difference, questions_to_decide
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Encoder, Progress, unit_rows

OpenEncoder = Callable[[Path], Encoder]
ReferenceType = Literal["float32", "bfloat16"]
REFERENCES: tuple[ReferenceType, ...] = ("float32", "bfloat16")


class Stages(Protocol):
    """Called before each long step; returns what to call as texts get finished."""

    def __call__(self, label: str, total: int, /) -> Progress: ...


class Embedded:
    """One encoder's vectors of a corpus, at full width, and searches in them by dim."""

    def __init__(self, name: str, documents: Vectors, queries: Vectors) -> None:
        self.name, self.documents, self.queries = name, documents, queries

    def at(self, dim: int) -> tuple[Vectors, Vectors]:
        """Return (documents, queries) cut to `dim` and normalised again."""
        return (
            unit_rows(self.documents, [""] * len(self.documents), dim=dim, source=self.name),
            unit_rows(self.queries, [""] * len(self.queries), dim=dim, source=self.name),
        )


class Texts:
    """The corpus as it is encoded: prompts applied, documents first."""

    def __init__(self, corpus: Corpus, checkpoint: Checkpoint) -> None:
        prompts = checkpoint.prompts
        self.documents = [
            prompts.render_document(text, title=title)
            for title, text in zip(corpus.titles, corpus.texts, strict=True)
        ]
        self.queries = [prompts.render_query(text) for text in corpus.queries]
        self.all = self.documents + self.queries

    def embed(self, encoder: Encoder, stages: Stages) -> Embedded:
        """Encode everything with one encoder."""
        advance = stages(encoder.name, len(self.all))
        vectors = encoder.encode(self.all, on_progress=advance)
        return Embedded(
            encoder.name, vectors[: len(self.documents)], vectors[len(self.documents) :]
        )


def run_parity(
    artifacts: Sequence[Path],
    *,
    checkpoint: Checkpoint,
    corpus: Corpus,
    recipe: Recipe,
    open_reference: Callable[[ReferenceType], Encoder],
    open_artifact: OpenEncoder,
    stages: Stages,
    dims: Sequence[int] | None = None,
) -> ParityReport:
    """Return the report on `artifacts`, all made from `checkpoint`.

    Cosines are to torch fp32, the truth; retrieval is compared with torch bf16, what the user
    runs. `open_reference` is given `float32` or `bfloat16`. Each artifact is opened, run and
    closed in turn. Raises BadInput for an artifact of another checkpoint or prompt convention.
    """
    manifests = [_checked(folder, checkpoint) for folder in artifacts]
    for manifest in manifests:
        recipe.limits_for(manifest.scheme)
    chosen = _dims(dims, checkpoint)
    texts = Texts(corpus, checkpoint)
    references: dict[str, Embedded] = {}
    ids: list[list[int]] = []
    for dtype in REFERENCES:
        encoder = open_reference(dtype)
        ids = ids or encoder.token_ids(texts.all)
        references[dtype] = texts.embed(encoder, stages)
        encoder.close()
    baseline = _Baseline(corpus, recipe, texts, references["float32"], references["bfloat16"])
    results = []
    for folder, manifest in zip(artifacts, manifests, strict=True):
        encoder = open_artifact(folder)
        count, line = first_token_difference(encoder.token_ids(texts.all), ids, texts.all)
        ours = texts.embed(encoder, stages)
        encoder.close()
        judged = tuple(
            baseline.judge(ours, dim, scheme=manifest.scheme, tokens_differ=count)
            for dim in chosen
            if dim <= manifest.dim
        )
        if not judged:
            raise BadInput(f"'{folder}' has only {manifest.dim} dimensions; pass smaller --dims")
        results.append(
            ArtifactResult(
                name=manifest.name, kind=manifest.kind, scheme=manifest.scheme,
                manifest_sha256=sha256_file(folder / MANIFEST_NAME),
                size_bytes=manifest.size_bytes, tokens_differ=count, first_token_difference=line,
                dims=judged, verdict=worst_verdict([d.verdict for d in judged]),
                reasons=tuple(f"dim {d.dim}: {r}" for d in judged for r in d.reasons),
            )
        )  # fmt: skip
    return ParityReport(
        tool_version=__version__, model_name=checkpoint.name,
        checkpoint_files={path: digest for path, _, digest in checkpoint.file_hashes()},
        corpus=corpus.name, corpus_sha256=corpus.sha256, documents=len(corpus.doc_ids),
        questions=len(corpus.query_ids), query_prompt=checkpoint.prompts.query,
        document_prompt=checkpoint.prompts.document,
        reference="retrieval: torch bf16; cosine: torch fp32",
        noise_floor=tuple(baseline.noise_floor(dim) for dim in chosen),
        artifacts=tuple(results), verdict=worst_verdict([r.verdict for r in results]),
    )  # fmt: skip


def _checked(folder: Path, checkpoint: Checkpoint) -> Manifest:
    manifest = read_manifest(folder)
    theirs = {f.path: f.sha256 for f in manifest.checkpoint_files}
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    different = sorted(p for p in theirs | ours if theirs.get(p) != ours.get(p))
    if different:
        raise BadInput(
            f"'{folder}' was not made from '{checkpoint.path}': {different[0]} differs; "
            "pass the right --checkpoint, or export again"
        )
    if manifest.window.used != checkpoint.window_used:
        raise BadInput(
            f"'{folder}' was built with window {manifest.window.used}, the reference has "
            f"{checkpoint.window_used}; pass --window {manifest.window.choice}"
        )
    return manifest


def _dims(dims: Sequence[int] | None, checkpoint: Checkpoint) -> list[int]:
    if dims is None:
        return list(checkpoint.matryoshka_dims)
    for dim in dims:
        if not 0 < dim <= checkpoint.dim:
            raise BadInput(f"--dims {dim} is not between 1 and {checkpoint.dim}")
    return sorted(set(dims), reverse=True)


class _Baseline:
    """The references' rankings, computed once per dim."""

    def __init__(
        self, corpus: Corpus, recipe: Recipe, texts: Texts, truth: Embedded, used: Embedded
    ) -> None:
        self.corpus, self.recipe, self.texts = corpus, recipe, texts
        self.truth, self.used = truth, used
        self._found: dict[tuple[str, int], np.ndarray[tuple[int, int], np.dtype[np.int64]]] = {}

    def _search(self, of: Embedded, dim: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        key = (of.name, dim)
        if key not in self._found:
            documents, queries = of.at(dim)
            self._found[key] = search(queries, documents)
        return self._found[key]

    def _measure(self, found: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> dict[
        str, np.ndarray[tuple[int], np.dtype[np.float64]]
    ]:  # fmt: skip
        c = self.corpus
        return measure(found, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)

    def _cosines(self, ours: Embedded, dim: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        a = np.concatenate([ours.documents, ours.queries])[:, :dim]
        b = np.concatenate([self.truth.documents, self.truth.queries])[:, :dim]
        return row_cosines(a, b)

    def judge(self, ours: Embedded, dim: int, *, scheme: str, tokens_differ: int) -> DimResult:
        """Compare one artifact at one dim with the references."""
        limits = self.recipe.limits_for(scheme)
        documents, queries = ours.at(dim)
        found = search(queries, documents)
        expected = self._search(self.used, dim)
        mine, theirs = self._measure(found), self._measure(expected)
        crossed = self._measure(search(queries, self.used.at(dim)[0]))
        options = {"resamples": self.recipe.bootstrap_resamples, "seed": self.recipe.seed}
        difference = paired_difference(mine["mrr_at_10"], theirs["mrr_at_10"], **options)
        cosine = summarize_cosines(self._cosines(ours, dim), self.texts.all)
        shared = overlap(found, expected)
        verdict, reasons = judge_dim(
            cosine_p1=cosine.p1, overlap_at_10=shared, difference=difference,
            tokens_differ=tokens_differ, limits=limits,
            needed=questions_to_decide(
                mine["mrr_at_10"], theirs["mrr_at_10"], margin=limits.mrr_at_10_margin
            ),
        )  # fmt: skip
        return DimResult(
            dim=dim, cosine=cosine, metrics=means(mine), reference=means(theirs),
            mrr_difference=difference, overlap_at_10=shared,
            queries_on_reference_index=means(crossed),
            queries_on_reference_index_difference=paired_difference(
                crossed["mrr_at_10"], theirs["mrr_at_10"], **options
            ),
            verdict=verdict, reasons=reasons,
        )  # fmt: skip

    def noise_floor(self, dim: int) -> NoiseFloor:
        """Compare the bf16 reference with the fp32 one."""
        truth, used = self._search(self.truth, dim), self._search(self.used, dim)
        return NoiseFloor(
            dim=dim,
            cosine=summarize_cosines(self._cosines(self.used, dim), self.texts.all),
            mrr_at_10_fp32=float(self._measure(truth)["mrr_at_10"].mean()),
            mrr_at_10_bf16=float(self._measure(used)["mrr_at_10"].mean()),
            overlap_at_10=overlap(truth, used),
        )
