"""A release of the tiny checkpoint: two artifacts, one package."""

from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import read_corpus
from exporter.corpus.calibration import CalibrationText, read_calibration
from exporter.recipe import Recipe
from exporter.release.run import ReleaseOutcome, run_release

LIMIT = {
    "cosine_p1_min": 0.9935,
    "overlap_at_10_min": 0.5,
    "mrr_at_10_margin": 0.5,
    "reason": "tiny",
}
RECIPE = Recipe.model_validate(
    {
        "schema_version": 1,
        "corpus": "unused",
        "limits": dict.fromkeys(("fp32", "16bit", "8bit"), LIMIT),
        "artifacts": [
            {"format": "onnx", "scheme": "int8"},
            {"format": "gguf", "scheme": "q8_0", "packages": ["ollama"]},
        ],
    }
)


def silent(label: str, total: int) -> Any:
    return lambda done: None


def few() -> list[CalibrationText]:
    """Return short bundled texts, the same ones in every process."""
    return [text for text in read_calibration(None) if len(text.text) < 60][:24]


def release(
    checkpoint: Checkpoint,
    corpus: Path,
    output: Path,
    recipe: Recipe = RECIPE,
    *,
    jobs: int | None = 1,
) -> tuple[ReleaseOutcome, list[str]]:
    said: list[str] = []
    outcome = run_release(
        checkpoint,
        recipe=recipe,
        corpus=read_corpus(corpus),
        output=output,
        force=False,
        stages=silent,
        tell=said.append,
        jobs=jobs,
        calibration=few(),
    )
    return outcome, [line for line in said if not line.startswith("calibration: ")]
