"""Run parity: embed a corpus with the references and with each artifact, compare, judge."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from exporter import __version__
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_files,
    library_versions,
    read_manifest,
    sha256_file,
)
from exporter.parity.compare import first_token_difference
from exporter.parity.corpus import Corpus
from exporter.parity.embed import Embedded, Texts
from exporter.parity.judge import worst_verdict
from exporter.parity.measure_dim import Baseline
from exporter.parity.records import ArtifactResult, DimResult, ParityReport
from exporter.recipe import Recipe
from exporter.registry import ENCODERS, resolve
from exporter.runtimes.encoder import Encoder, Progress

REFERENCE_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")


ReferenceType = Literal["float32", "bfloat16"]
REFERENCES: tuple[ReferenceType, ...] = ("float32", "bfloat16")


class Stages(Protocol):
    """Called before each long step; returns what to call as texts get finished."""

    def __call__(self, label: str, total: int, /) -> Progress: ...


def run_parity(
    artifacts: Sequence[Path],
    *,
    checkpoint: Checkpoint,
    corpus: Corpus,
    recipe: Recipe,
    open_reference: Callable[[ReferenceType], Encoder],
    open_artifact: Callable[[Path], Encoder],
    stages: Stages,
    dims: Sequence[int] | None = None,
) -> ParityReport:
    """Return the report on `artifacts`, all made from `checkpoint`.

    Cosines and overlap are to torch fp32, the truth; MRR@10 is compared with torch bf16, what the
    user runs. `open_reference` is given `float32` or `bfloat16`; the references are embedded once
    for all artifacts. `dims` defaults to the Matryoshka dims; an artifact narrower than a dim is
    not judged at it. An artifact whose vectors are not finite fails; one made from another
    checkpoint, or for other prompts, raises BadInput before any long step.
    """
    manifests = [_checked(folder, checkpoint) for folder in artifacts]
    chosen = _dims(dims, checkpoint)
    for folder, manifest in zip(artifacts, manifests, strict=True):
        recipe.limits_for(manifest.scheme)
        if chosen[-1] > manifest.dim:
            raise BadInput(f"'{folder}' has only {manifest.dim} dimensions; pass smaller --dims")
        resolve(ENCODERS, manifest.kind, kind="artifact kind")
        # Loaded once before the long steps: a missing runtime or a broken file shows now.
        open_artifact(folder).close()
    texts = Texts(corpus, checkpoint.prompts)
    references: dict[str, Embedded] = {}
    ids: list[list[int]] = []
    for dtype in REFERENCES:
        encoder = open_reference(dtype)
        ids = ids or encoder.token_ids(texts.all)
        references[dtype] = _embed(encoder, texts, stages)
        encoder.close()
    baseline = Baseline(corpus, recipe, texts, references["float32"], references["bfloat16"])
    results = []
    for folder, manifest in zip(artifacts, manifests, strict=True):
        encoder = open_artifact(folder)
        count, line = first_token_difference(encoder.token_ids(texts.all), ids, texts.all)
        judged: tuple[DimResult, ...] = ()
        reasons: tuple[str, ...]
        try:
            ours = _embed(encoder, texts, stages)
        except BadInput as error:
            # No vectors, no figures: a failed artifact, not a failed run.
            reasons = (str(error),)
        else:
            judged = tuple(
                baseline.judge(ours, dim, scheme=manifest.scheme, tokens_differ=count)
                for dim in chosen
                if dim <= manifest.dim
            )
            reasons = tuple(f"dim {d.dim}: {r}" for d in judged for r in d.reasons)
        finally:
            encoder.close()
        results.append(
            ArtifactResult(
                name=manifest.name, kind=manifest.kind, scheme=manifest.scheme,
                manifest_sha256=sha256_file(folder / MANIFEST_NAME),
                size_bytes=manifest.size_bytes, window_used=manifest.window.used,
                tokens_differ=count, first_token_difference=line, dims=judged,
                verdict=worst_verdict([d.verdict for d in judged]) if judged else "fail",
                reasons=reasons,
            )
        )  # fmt: skip
    return ParityReport(
        tool_version=__version__, model_name=checkpoint.name,
        checkpoint_files={path: digest for path, _, digest in checkpoint.file_hashes()},
        corpus=corpus.name, corpus_sha256=corpus.sha256, documents=len(corpus.doc_ids),
        questions=len(corpus.query_ids), window_used=checkpoint.window_used,
        libraries=library_versions(REFERENCE_LIBRARIES),
        query_prompt=checkpoint.prompts.query, document_prompt=checkpoint.prompts.document,
        reference="MRR@10: torch bf16; cosine and overlap: torch fp32",
        noise_floor=tuple(baseline.noise_floor(dim) for dim in chosen),
        artifacts=tuple(results), verdict=worst_verdict([r.verdict for r in results]),
    )  # fmt: skip


def _embed(encoder: Encoder, texts: Texts, stages: Stages) -> Embedded:
    vectors = encoder.encode(texts.unique, on_progress=stages(encoder.name, len(texts.unique)))
    return texts.spread(vectors, name=encoder.name)


def _checked(folder: Path, checkpoint: Checkpoint) -> Manifest:
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    theirs = {f.path: f.sha256 for f in manifest.checkpoint_files}
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    different = sorted(p for p in theirs | ours if theirs.get(p) != ours.get(p))
    if different:
        raise BadInput(
            f"'{folder}' was not made from '{checkpoint.path}': {different[0]} differs; "
            "pass the right --checkpoint, or export again"
        )
    if manifest.prompts != checkpoint.prompts:
        raise BadInput(
            f"'{folder}' was exported for the prompts query={manifest.prompts.query!r}, "
            f"document={manifest.prompts.document!r}, this run uses "
            f"query={checkpoint.prompts.query!r}, document={checkpoint.prompts.document!r}; "
            "pass the same --prompts, or export again"
        )
    return manifest


def _dims(dims: Sequence[int] | None, checkpoint: Checkpoint) -> list[int]:
    if dims is None:
        return list(checkpoint.matryoshka_dims)
    for dim in dims:
        if not 0 < dim <= checkpoint.dim:
            raise BadInput(f"--dims {dim} is not between 1 and {checkpoint.dim}")
    if not dims:
        raise BadInput("--dims names no dim; leave it out for all Matryoshka dims")
    return sorted(set(dims), reverse=True)
