"""The Python API: `from exporter import read_checkpoint, export, judge, package`.

What the command line does, without a terminal: nothing is printed, every error is a LawvaultError
with the message that the command line shows.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exporter.checkpoint import read
from exporter.checkpoint.contents import Checkpoint, Prompts, WindowChoice
from exporter.checkpoint.hub import locate_checkpoint
from exporter.checkpoint.vocabulary import with_vocabulary
from exporter.corpus.beir import Corpus, read_corpus
from exporter.format import format_of
from exporter.formats.open import artifact_source
from exporter.manifest import Manifest
from exporter.packages.assemble import Settings
from exporter.packages.manifest import PackageManifest
from exporter.parity.results import ParityReport
from exporter.parity.run import VECTORS_NAME, run_parity
from exporter.progress import Stages, silent, unheard
from exporter.recipe import Language, Recipe, read_recipe, recipe_file
from exporter.release.package_one import package_artifacts
from exporter.report.write import write_report
from exporter.runtimes.original import open_original

StrPath = str | os.PathLike[str]


def read_checkpoint(
    checkpoint: StrPath,
    *,
    window: WindowChoice = "as-saved",
    prompts: Prompts | None = None,
    base: StrPath | None = None,
) -> Checkpoint:
    """Read and check a checkpoint: a folder saved by sentence-transformers, or ORG/NAME on the hub.

    A LoRA or another adapter is merged into its base, which `base` names where it is neither beside
    the adapter nor where adapter_config.json says.
    `window`: a sliding window that saving has halved is used as saved, or repaired. `prompts`:
    templates with {text} and {title}, in place of those saved with it. Weights are read when they
    are needed. Raises BadInput for whatever cannot be exported rightly.
    """
    return read.read_checkpoint(
        locate_checkpoint(str(checkpoint)),
        window=window,
        prompts=prompts,
        base=None if base is None else str(base),
    )


def export(
    checkpoint: Checkpoint,
    output: StrPath,
    *,
    format: str,
    scheme: str | None = None,
    calibration: StrPath | None = None,
    vocabulary: StrPath | None = None,
    force: bool = False,
    stages: Stages = silent,
    **options: Any,
) -> Manifest:
    """Write an artifact to the folder `output` and return its manifest.

    `format`: onnx, gguf, openvino, litert. `scheme`: what --quant or --type takes, its
    default for None, or `mixed` where `budget` is given. `calibration`: texts to fit on, the
    bundled ones for None. `vocabulary`: a folder that `lawvault vocabulary` wrote; rows of other
    pieces are left out. `options`: the
    format's own, as on the command line, with underscores. `stages` is told how far it is. Raises
    BadInput, or MissingDependency before any work; nothing half-written stays.
    """
    found = format_of(format)
    given = found.given(options)
    chosen = found.asked_for(scheme, given)
    texts = None if calibration is None else Path(calibration)
    if vocabulary is not None:
        checkpoint = with_vocabulary(checkpoint, Path(vocabulary))
    found.require(chosen, {**given, "calibration": texts})
    made: Manifest = found.resolve("export")(
        checkpoint,
        Path(output),
        scheme=chosen,
        calibration=texts,
        force=force,
        stages=stages,
        **given,
    )
    return made


def judge(
    artifacts: Sequence[StrPath],
    checkpoint: Checkpoint,
    *,
    corpus: StrPath | Corpus,
    recipe: str | Recipe = "default",
    output: StrPath | None = None,
    dims: Sequence[int] | None = None,
    cache: StrPath | None = None,
    language: Language = "en",
    stages: Stages = silent,
    tell: Callable[[str], None] = unheard,
) -> ParityReport:
    """Compare artifacts of `checkpoint` with it on a corpus, and return the report.

    `corpus`: a folder in BEIR's layout, or one that was read. `recipe`: whose limits hold; the name
    of a bundled one, a file, or one that was read; prompts are those of `checkpoint`. `output`: a
    folder for parity.json, parity.md and parity.html; nothing is written for None. `dims`: widths
    to judge, for None all that were trained. `cache`: a folder that keeps vectors, by default in
    `output`. `language`: en or zh, of the latter two.
    `report.verdict` is pass, fail or undecided, and `report.artifacts` has one verdict each. Raises
    BadInput or MissingDependency.
    """
    folder = None if output is None else Path(output)
    kept = Path(cache) if cache is not None else folder and folder / VECTORS_NAME
    report = run_parity(
        [Path(artifact) for artifact in artifacts],
        original=open_original(checkpoint),
        corpus=corpus if isinstance(corpus, Corpus) else read_corpus(Path(corpus)),
        recipe=recipe if isinstance(recipe, Recipe) else read_recipe(recipe_file(recipe)),
        artifact_source=artifact_source,
        dims=dims,
        cache=kept,
        stages=stages,
        tell=tell,
    )
    if folder is not None:
        write_report(folder, report, language)
    return report


def package(
    consumer: str,
    artifacts: Sequence[StrPath],
    output: StrPath,
    *,
    checkpoint: Checkpoint,
    report: ParityReport | None,
    override_reason: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
    language: Language = "en",
) -> PackageManifest:
    """Write the package of judged `artifacts` to the folder `output` and return its manifest.

    `consumer`: ollama, transformersjs, onnxruntime, openvino, android or sentence-transformers.
    `report`: what
    `judge` returned; an artifact without a pass is refused unless `override_reason` says why, and
    the reason stands in the package. `settings`: options of that consumer's own. `language`:
    en or zh, of its README. Raises GateClosed, BadInput or MissingDependency; nothing half-written
    stays.
    """
    return package_artifacts(
        consumer,
        [Path(artifact) for artifact in artifacts],
        Path(output),
        checkpoint=checkpoint,
        report=report,
        override_reason=override_reason,
        force=force,
        settings=settings,
        language=language,
    )
