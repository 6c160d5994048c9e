"""A Hugging Face model card of the artifacts, from what was measured; nothing is invented."""

import importlib.resources
import logging
import warnings
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.parity.overview import USES, existing_index, lead_sentences
from exporter.parity.records import ArtifactResult, ParityReport

CARD_NAME = "README.md"
METRICS = (("mrr_at_10", "MRR@10"), ("hit_at_10", "Hit@10"), ("top_1", "Top-1"),
           ("ndcg_at_10", "nDCG@10"))  # fmt: skip
NOT_STATED = "not stated"
TAGS = ["sentence-transformers", "feature-extraction", "embeddings", "quantized"]


def render_card(checkpoint: Checkpoint, report: ParityReport) -> str:
    """Return the card's Markdown with its front matter. Same input, same bytes.

    Licence, base model and languages are those of the checkpoint's own card, where it has one.
    Raises BadInput for a report on another checkpoint.
    """
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    if report.checkpoint_files != ours:
        raise BadInput(
            f"the report is about another checkpoint than '{checkpoint.path}'; pass the right "
            "--checkpoint, or run 'lawvault parity' again"
        )
    stated = read_statement(checkpoint.path)
    data = ModelCardData(
        model_name=report.model_name, license=stated.get("license"),
        license_link=stated.get("license_link"), license_name=stated.get("license_name"),
        base_model=stated.get("base_model"), language=stated.get("language"),
        pipeline_tag="feature-extraction", tags=TAGS,
        eval_results=[one for a in report.artifacts for one in _results(a, report)] or None,
    )  # fmt: skip
    template = importlib.resources.files("exporter.package") / "templates" / "card.md.j2"
    full = report.noise_floor[0]
    card = ModelCard.from_template(
        data, template_str=template.read_text(encoding="utf-8"), report=report,
        lead=lead_sentences(report), rows=[_row(a) for a in report.artifacts], floor=full,
        dims=[f.dim for f in report.noise_floor], checkpoint=checkpoint,
        licence=stated.get("license") or NOT_STATED,
        base=_listed(stated.get("base_model")) or NOT_STATED,
    )  # fmt: skip
    return str(card).rstrip() + "\n"


def read_statement(folder: Path) -> dict[str, Any]:
    """Return the front matter of the checkpoint's own card, empty where it has none."""
    # A card without front matter is none of its warnings' business.
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)
    path = folder / CARD_NAME
    if not path.is_file():
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fields that only the hub's own check asks for
            card = ModelCard(path.read_text(encoding="utf-8-sig"), ignore_metadata_errors=True)
    except (ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"the front matter of '{path}' cannot be read ({reason}); mend it") from None
    found: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    return found


def _results(artifact: ArtifactResult, report: ParityReport) -> list[EvalResult]:
    if not artifact.dims:
        return []
    full = artifact.dims[0]
    metrics = full.deployed("both").metrics
    return [
        EvalResult(
            task_type="information-retrieval", task_name="Information Retrieval",
            dataset_type=report.corpus, dataset_name=report.corpus,
            dataset_revision=report.corpus_sha256, dataset_split="test",
            metric_type=key, metric_name=f"{label}, {artifact.name}, dim {full.dim}",
            metric_value=round(float(getattr(metrics, key)), 4),
        )
        for key, label in METRICS
    ]  # fmt: skip


def _row(artifact: ArtifactResult) -> dict[str, str]:
    row = {"name": artifact.name, "size": f"{artifact.size_bytes / 1e6:,.1f}",
           "use": USES.get(artifact.kind, artifact.kind), "verdict": artifact.verdict,
           "existing": existing_index(artifact), "cosine": "", "mrr": "",
           "difference": ""}  # fmt: skip
    if artifact.dims:
        both = artifact.dims[0].deployed("both")
        d = both.differences.mrr_at_10
        row |= {"cosine": f"{artifact.dims[0].cosine.p1:.5f}",
                "mrr": f"{both.metrics.mrr_at_10:.4f}",
                "difference": f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"}  # fmt: skip
    return row


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
