"""Run parity: embed a corpus with the references and with each artifact, compare, judge."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from exporter import __version__
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.window import both_windows
from exporter.corpus.beir import Corpus
from exporter.errors import BadInput
from exporter.format import format_of
from exporter.hashing import sha256_file
from exporter.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_files,
    checkpoint_difference,
    library_versions,
    read_manifest,
)
from exporter.parity.conventions import measure_stripping, measure_window
from exporter.parity.cut_vocabulary import measure_cut
from exporter.parity.invariance import encode_in_padded_batches, measure_invariance, sample_texts
from exporter.parity.judge import judge_invariance, worst_verdict
from exporter.parity.lengths import Lengths
from exporter.parity.measure_dim import PADDED_BATCH, References
from exporter.parity.measured import DimResult
from exporter.parity.mentioned import mentioned
from exporter.parity.parts import part_sizes
from exporter.parity.pool import SAMPLE_DOCUMENTS
from exporter.parity.pool_plan import plan_pool
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.parity.token_check import TOKENIZED_TEXTS, check_tokens
from exporter.progress import Stages, unheard
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original, Source, TokenIds
from exporter.vectors.embed import Embedded, Texts, embed_texts
from exporter.vectors.rows import Rows

REFERENCE_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")
VECTORS_NAME = "vectors"
"""The cache's folder below an output folder."""
MANY_LOST = 0.05
"""Share of lost pieces beyond which a corpus is hardly of the domain of a vocabulary."""


def run_parity(
    artifacts: Sequence[Path],
    *,
    original: Original,
    corpus: Corpus,
    recipe: Recipe,
    artifact_source: Callable[[Path], Source],
    stages: Stages,
    dims: Sequence[int] | None = None,
    cache: Path | None = None,
    tell: Callable[[str], None] = unheard,
    pool_sample: int = SAMPLE_DOCUMENTS,
) -> ParityReport:
    """Return the report on `artifacts`, all made from one checkpoint.

    All is compared with torch fp32, the truth; torch bf16, what the user runs, is the unit of
    distances. Vectors are kept in `cache`, below a temporary folder by default: nothing is encoded
    twice, and a run that was stopped resumes. `dims` defaults to the Matryoshka dims;
    an artifact narrower than a dim is not judged at it. An artifact whose vectors are not finite
    fails; one made from another checkpoint, or for other prompts, raises BadInput before any long
    step. A corpus that would take long is judged by a pool, with `pool_sample` documents at random;
    `recipe.pool` has the last word, and `tell` hears of it.
    """
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="lawvault-vectors-") as temporary:
            return run_parity(
                artifacts,
                original=original,
                corpus=corpus,
                recipe=recipe,
                stages=stages,
                artifact_source=artifact_source,
                dims=dims,
                cache=Path(temporary),
                tell=tell,
                pool_sample=pool_sample,
            )
    checkpoint = original.checkpoint
    manifests = [checked_manifest(folder, checkpoint) for folder in artifacts]
    chosen = _dims(dims, checkpoint)
    sources = [artifact_source(folder) for folder in artifacts]
    for folder, manifest, source in zip(artifacts, manifests, sources, strict=True):
        recipe.limits_for(manifest.scheme)
        if chosen[-1] > manifest.dim:
            raise BadInput(f"'{folder}' has only {manifest.dim} dimensions; pass smaller --dims")
        format_of(manifest.format)
        # Loaded once before the long steps: a missing runtime or a broken file shows now.
        source.open().close()
    texts, documents = Texts(corpus, checkpoint.prompts), len(corpus.doc_ids)
    pool = plan_pool(
        corpus,
        sources,
        original=original,
        texts=texts,
        recipe=recipe,
        dims=chosen,
        cache=cache,
        stages=stages,
        tell=tell,
        sample=pool_sample,
    )
    if pool is not None:
        corpus = pool.part
        texts = Texts(corpus, checkpoint.prompts)

    def embed(source: Source, wanted: Sequence[str]) -> Rows:
        return embed_texts(source, wanted, cache=cache, start=stages)

    truth = texts.spread(embed(original.truth, texts.unique))
    used = texts.spread(embed(original.used, texts.unique))
    lengths = _lengths(texts, original)
    references = References(corpus, recipe, texts, lengths, truth=truth, used=used, pool=pool)
    results = [
        _judge_artifact(
            folder,
            manifest,
            source,
            references,
            tokens=original.tokens,
            embed=embed,
            dims=chosen,
            stages=stages,
        )
        for folder, manifest, source in zip(artifacts, manifests, sources, strict=True)
    ]
    for result in results:
        _warn_of_lost(result, corpus, tell)
    floors = tuple(references.noise_floor(dim) for dim in chosen)
    articles, asked = mentioned(corpus, results, floors)
    windows, other = both_windows(checkpoint), original.other_window
    window_effect = None
    if windows is not None and other is not None:
        window_effect = measure_window(
            partial(embed, other),
            windows=windows,
            used=checkpoint.window_used or 0,
            truth=truth,
            texts=texts,
            lengths=lengths,
            corpus=corpus,
        )
    return ParityReport(
        tool_version=__version__,
        model_name=checkpoint.name,
        checkpoint_files={path: digest for path, _, digest in checkpoint.file_hashes()},
        adapter=checkpoint.adapter.record if checkpoint.adapter else None,
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        documents=documents,
        questions=len(corpus.query_ids),
        window_used=checkpoint.window_used,
        libraries=library_versions(
            (*REFERENCE_LIBRARIES, *(("peft",) if checkpoint.adapter else ()))
        ),
        query_prompt=checkpoint.prompts.query,
        document_prompt=checkpoint.prompts.document,
        reference="torch fp32; torch bf16, which users run, beside it"
        + ("; the adapter unmerged in PEFT" if checkpoint.adapter else ""),
        judged_ways=recipe.ways,
        pool=pool.record if pool else None,
        noise_floor=floors,
        window_effect=window_effect,
        stripping=measure_stripping(
            partial(embed, original.truth),
            corpus=corpus,
            prompts=checkpoint.prompts,
            truth=truth,
            texts=texts,
        ),
        artifacts=tuple(results),
        articles=articles,
        asked=asked,
        verdict=worst_verdict([r.verdict for r in results]),
    )


def _lengths(texts: Texts, original: Original) -> Lengths:
    limit = original.checkpoint.max_tokens
    tokens = np.empty(len(texts.all), np.int32)
    for start in range(0, len(texts.all), TOKENIZED_TEXTS):
        part = original.tokens(texts.all[start : start + TOKENIZED_TEXTS])
        tokens[start : start + len(part)] = [len(row) for row in part]
    cut = np.zeros(len(tokens), bool)
    for i in np.flatnonzero(tokens >= limit):
        cut[i] = original.tokens.is_cut(texts.all[i])
    window = original.checkpoint.window_used
    return Lengths(tokens, cut, reach=None if window is None else window // 2 + 1)


def _judge_artifact(
    folder: Path,
    manifest: Manifest,
    source: Source,
    references: References,
    *,
    tokens: TokenIds,
    embed: Callable[[Source, Sequence[str]], Rows],
    dims: Sequence[int],
    stages: Stages,
) -> ArtifactResult:
    texts = references.texts
    with closing(source.open()) as encoder:
        check = check_tokens(folder, manifest, encoder, texts.all, tokens)
    ours: Embedded | None = None
    judged: tuple[DimResult, ...] = ()
    invariance = padded = None
    reasons: tuple[str, ...]
    try:
        check.refuse()
        ours = texts.spread(embed(source, texts.unique))
        sample = sample_texts(references.lengths.tokens.tolist())
        progress = stages(f"{source.name}: companions, padding, threads", len(sample))
        invariance = measure_invariance(
            source,
            [texts.all[i] for i in sample],
            truth=references.truth.together(references.truth.documents.dim).take(np.array(sample)),
            max_tokens=manifest.max_tokens,
        )
        progress(len(sample))
        questions = texts.all[texts.documents :]
        in_batches = encode_in_padded_batches(source, questions, batch=PADDED_BATCH)
    except BadInput as error:
        # No vectors, no figures: a failed artifact, not a failed run.
        reasons = (str(error),)
    else:
        dependent = judge_invariance(
            invariance, limits=references.recipe.limits_for(manifest.scheme)
        )
        possible = [dim for dim in dims if dim <= manifest.dim]
        judged = tuple(
            references.judge(ours, dim, scheme=manifest.scheme, name_changes=dim == max(possible))
            for dim in possible
        )
        reasons = dependent + tuple(f"dim {d.dim}: {r}" for d in judged for r in d.reasons)
        if in_batches is not None:
            padded = references.judge_padded(ours, in_batches, scheme=manifest.scheme)
            if not reasons:  # else the same is said twice
                reasons = padded.reasons
    cut = None
    if manifest.vocabulary is not None:
        cut = measure_cut(
            manifest.vocabulary,
            check,
            ours,
            truth=references.truth,
            texts=texts,
            corpus=references.corpus,
        )
    verdicts = [d.verdict for d in judged]
    if padded is not None:
        verdicts.append(padded.verdict)
    if not judged or (invariance is not None and dependent):
        verdicts.append("fail")
    return ArtifactResult(
        name=manifest.name,
        format=manifest.format,
        flavour=str(manifest.options.get("flavour", "")),
        scheme=manifest.scheme,
        manifest_sha256=sha256_file(folder / MANIFEST_NAME),
        size_bytes=manifest.size_bytes,
        parts=part_sizes(manifest),
        limits=references.recipe.limits_for(manifest.scheme),
        window_used=manifest.window.used,
        kernels=source.kernels,
        tokens_differ=check.differ,
        first_token_difference=check.first,
        unproven=manifest.unproven,
        vocabulary=cut,
        dims=judged,
        invariance=invariance,
        padded=padded,
        verdict=worst_verdict(verdicts),
        reasons=reasons,
    )


def _warn_of_lost(result: ArtifactResult, corpus: Corpus, tell: Callable[[str], None]) -> None:
    cut = result.vocabulary
    if cut is not None and cut.lost > MANY_LOST * cut.occurrences:
        most = ", ".join(repr(lost.piece) for lost in cut.lost_most[:3])
        tell(
            f"warning: {result.name}: its vocabulary lacks {cut.lost / cut.occurrences:.0%} of the "
            f"pieces of {corpus.name} (most often {most}); it was cut for other texts, cut one for "
            "these with 'lawvault vocabulary', or export without --vocabulary"
        )


def checked_manifest(folder: Path, checkpoint: Checkpoint) -> Manifest:
    """Return the manifest of an artifact made from `checkpoint`, for its prompts.

    Raises BadInput for a damaged folder, another checkpoint or other prompts.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    theirs = {f.path: f.sha256 for f in manifest.checkpoint_files}
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    different = checkpoint_difference(ours, theirs)
    if different is not None:
        raise BadInput(
            f"'{folder}' was not made from '{checkpoint.path}': {different} differs; "
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
