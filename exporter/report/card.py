"""A Hugging Face model card for the artifacts of a release, from what was measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.errors import BadInput
from exporter.format import all_formats, format_of
from exporter.manifest import Manifest, checkpoint_difference
from exporter.markdown_text import harmless
from exporter.packages.terms import GEMMA_NOTICE, GEMMA_TERMS, Terms, read_terms
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.parity.ways import dims_of
from exporter.report.advice import UNPROVEN, megabytes, recommend, three_sentences
from exporter.report.markdown import show_difference, show_power
from exporter.report.pool_words import show_pool, show_size
from exporter.report.uses import good_for, runs_in
from exporter.report.words import ENGLISH
from exporter.templates import environment
from exporter.vectors.search import Metrics

METRICS = (
    ("mrr_at_10", "cosine_mrr@10", "MRR@10"),
    ("ndcg_at_10", "cosine_ndcg@10", "nDCG@10"),
    ("top_1", "cosine_accuracy@1", "Top-1"),
    ("hit_at_10", "cosine_accuracy@10", "Hit@10"),
)
"""Field, type as sentence-transformers names it on the hub, and name."""


UNNAMED = re.compile(
    r"(checkpoint|ckpt|epoch|step|final|best|last|merged|output|model|export|run|tmp|result)s?[-_.\d]*"
    r"|[0-9a-f]{40}|[-_.\d]+",
    re.IGNORECASE,
)
"""Names of folders that training leaves, and of the hub's snapshots: none is a model's name."""


def build_card(
    report: ParityReport, *, manifests: Mapping[str, Manifest], checkpoint: Checkpoint
) -> ModelCard:
    """Return the card of the artifacts in `report`. Same input, same text.

    `manifests`: of each artifact, by its name. Only those that passed are offered and stand in the
    model-index; the others are named with the reason. Raises BadInput where the checkpoint is not
    the one that the report is about.
    """
    _check_same(report, checkpoint)
    terms = read_terms(checkpoint)
    by_size = sorted(report.artifacts, key=lambda a: (a.size_bytes, a.name))
    passed = [a for a in by_size if a.verdict == "pass"]
    data = ModelCardData(
        model_name=report.model_name,
        eval_results=list(_results(report, passed)) or None,
        language=list(terms.languages) or None,
        license=terms.licence,
        license_name=terms.name,
        license_link=terms.link,
        base_model=_base_model(checkpoint, terms),
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", *sorted({a.format for a in passed})],
    )
    body = _template().render(
        report=report,
        size=show_size(report),
        pool=show_pool(report),
        terms=terms,
        manifests=manifests,
        rows=[_row(a, manifests[a.name]) for a in passed],
        title=_title(report, passed),
        recommended=recommend(report),
        sentences=three_sentences(report),
        refused=[(a.name, "; ".join(a.reasons)) for a in by_size if a.verdict != "pass"],
        unknown=unknown(report, terms),
        snippets=list(_snippets(report, passed, manifests)),
        first=max(manifests.values(), key=lambda m: m.dim),
        gemma_terms=GEMMA_TERMS,
        notice=GEMMA_NOTICE,
        power=show_power(passed[0].dims[0].power) if passed else "",
        floor=report.noise_floor[0],
        passed=passed,
        difference=show_difference(report.noise_floor[0].deployed("both").mrr_difference),
        unproven=[a.name for a in passed if a.unproven],
        why_unproven=UNPROVEN,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{harmless(body)}")


def unknown(report: ParityReport, terms: Terms) -> list[str]:
    """Return what a reader wants to know and only the author does."""
    found = []
    if UNNAMED.fullmatch(report.model_name):
        found.append(f"its title (the folder is called `{report.model_name}`)")
    if not terms.languages:
        found.append("its language")
    if not terms.licence:
        found.append("its licence")
    if not terms.base_models:
        found.append("its base model")
    return found


def _snippets(
    report: ParityReport, passed: Sequence[ArtifactResult], manifests: Mapping[str, Manifest]
) -> Iterator[dict[str, Any]]:
    """Yield how to use the first file of a format, the recommended one where there is one."""
    asked = Prompts(query=report.query_prompt, document=report.document_prompt)
    question = asked.render_query("房东不退押金怎么办")
    for found in all_formats():
        files = [a for a in passed if a.format == found.name and a.flavour != "web"]
        files = [a for a in files if not a.unproven] or files
        if files and found.snippet_language:
            # Of 8 bits before the smallest: what most want.
            taken = next((a for a in files if found.schemes[a.scheme] == "8bit"), files[0])
            yield {
                "language": found.snippet_language,
                "text": environment(f"exporter.formats.{found.name}", escape=False)
                .get_template("snippet.j2")
                .render(manifest=manifests[taken.name], name=taken.name, question=question),
            }


def _check_same(report: ParityReport, checkpoint: Checkpoint) -> None:
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    theirs = report.checkpoint_files
    # Its card decides no vector, and a licence may be added to it at any time.
    different = checkpoint_difference(ours, theirs, besides=("README.md",))
    if different is not None:
        raise BadInput(
            f"the report is not about '{checkpoint.path}': {different} differs; pass the "
            "--checkpoint that was judged, or run 'lawvault parity' again"
        )


def _base_model(checkpoint: Checkpoint, terms: Terms) -> list[str] | None:
    """Return the hub id of the checkpoint where it came from the hub, else its card's bases."""
    repository = checkpoint.path.parent.parent.name
    if checkpoint.path.parent.name == "snapshots" and repository.startswith("models--"):
        return [repository.removeprefix("models--").replace("--", "/", 1)]
    return list(terms.base_models) or None


def _results(report: ParityReport, passed: Sequence[ArtifactResult]) -> Iterator[EvalResult]:
    measured: list[tuple[str, Metrics]] = []
    if passed:
        measured.append(("torch bf16", passed[0].dims[0].baseline))
    measured += [(a.name, a.dims[0].deployed("both").metrics) for a in passed]
    for name, metrics in measured:
        for field, kind, shown in METRICS:
            yield EvalResult(
                task_type="information-retrieval",
                task_name="Information Retrieval",
                dataset_type=report.corpus,
                dataset_name=report.corpus,
                dataset_revision=report.corpus_sha256,
                metric_type=kind,
                metric_name=f"{shown}, {name}",
                metric_config=name,
                metric_value=round(float(getattr(metrics, field)), 6),
            )


def _title(report: ParityReport, passed: Sequence[ArtifactResult]) -> str:
    name = report.model_name
    if UNNAMED.fullmatch(name):
        name = "[title of your model]"
    labels = sorted({format_of(a.format).label for a in passed}, reverse=True)
    if not labels:
        return name
    return f"{name} in {ENGLISH.listed(labels)}"


def _row(a: ArtifactResult, manifest: Manifest) -> dict[str, Any]:
    d = a.dims[0]
    both = d.deployed("both")

    def dims(way: tuple[int, ...]) -> str:
        return ", ".join(map(str, way)) or "no"

    flavour = manifest.options.get("flavour", "")
    return {
        "name": a.name,
        "size": megabytes(a),
        "runs_in": runs_in(a.format, flavour=flavour),
        "good_for": good_for(a.scheme),
        "mrr": f"{both.metrics.mrr_at_10:.4f}",
        "difference": show_difference(both.differences.mrr_at_10),
        "cosine": f"{d.cosine.p1:.6f}",
        "overlap": f"{both.overlap_at_10.mean:.3f}",
        "old": dims(dims_of(a, "queries")),
        "own": dims(dims_of(a, "both")),
    }


def _template() -> jinja2.Template:
    return environment(__package__, escape=False).get_template("card.md.j2")
