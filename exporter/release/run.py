"""A release: every artifact of a recipe exported, judged and, where it passed, packaged."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.vocabulary import MAP_NAME, with_vocabulary
from exporter.corpus.beir import Corpus
from exporter.corpus.calibration import CalibrationText, write_calibration
from exporter.errors import BadInput, require
from exporter.formats.open import artifact_source
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, check_files, read_manifest
from exporter.packages.verdict import verdict_of
from exporter.parity.results import ParityReport
from exporter.parity.run import VECTORS_NAME, run_parity
from exporter.progress import Stages
from exporter.recipe import ArtifactSpec, Language, Recipe
from exporter.records import Record, write_json, write_text
from exporter.registry import PACKAGES, resolve
from exporter.release.bench import SHAPES, BenchReport, read_bench, run_bench
from exporter.release.exports import (
    CALIBRATION_NAME,
    calibrates,
    export_artifact,
    export_side_by_side,
    jobs_that_fit,
)
from exporter.release.package_all import Tell, package_all
from exporter.release.steps import Steps, fingerprint, release_folder
from exporter.report.html import render_html
from exporter.report.overview import INDEX_NAME, Offer, Speed, render_overview
from exporter.report.words import words_of
from exporter.report.write import HTML_NAME, JSON_NAME, MARKDOWN_NAME, read_report, write_report
from exporter.runtimes.memory import release_memory
from exporter.runtimes.original import open_original
from exporter.runtimes.torch_reference import REFERENCE_NEEDS, require_reference
from exporter.staging import check_output

BENCH_NAME = "bench.json"
# Rounded weights that several artifacts are written from; gone when all are.
KEPT_NAME = ".rounded"
MAKES_AN_ARTIFACT = {"format", "scheme", "flavour", "plan", "embedding_type", "imatrix"}


class ReleaseOutcome(Record):
    """What a release came to. `closed`: why it may not go out, one line each."""

    report: ParityReport
    packages: tuple[str, ...]
    overview: str
    closed: tuple[str, ...]


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be carried out, before any long step.

    Raises BadInput, or MissingDependency, naming every library that is missing.
    """
    formats = [spec.format_record for spec in recipe.artifacts]
    require(
        *REFERENCE_NEEDS,
        *(module for found in formats for module in (*found.export_needs, *found.runtime_needs)),
    )
    for spec in recipe.artifacts:
        recipe.limits_for(spec.scheme)
        calibrates(spec)
        for package in spec.packages:
            packager = resolve(PACKAGES, package, what="package")
            takes = packager.schemes or (spec.scheme,)
            if spec.format != packager.format or spec.scheme not in takes:
                named = f" {', '.join(packager.schemes)}" if packager.schemes else ""
                raise BadInput(
                    f"the recipe packages {spec.format} {spec.scheme} for {package}, "
                    f"which takes {packager.format}{named}"
                )


def run_release(
    checkpoint: Checkpoint,
    *,
    recipe: Recipe,
    corpus: Corpus,
    output: Path,
    force: bool,
    stages: Stages,
    tell: Tell,
    bench: bool = False,
    jobs: int | None = None,
    calibration: Sequence[CalibrationText] | None = None,
    language: Language = "en",
) -> ReleaseOutcome:
    """Carry out `recipe` below `output`. Returns the outcome; raises BadInput for bad input.

    A step is repeated only where something that it depends on changed: checkpoint, prompts,
    window, recipe, corpus, library versions or this package's source. A run that was killed, at
    any point, resumes. `jobs`: exports at once, None for as many as cores and memory
    allow; embedding uses all cores by itself. `calibration`: what schemes are fitted on, kept as
    calibration.jsonl; the bundled texts for None. The last step writes one overview page; `bench`
    times the artifacts for it, into bench.json, the one file that differs from machine to machine.
    `language`: of pages; packages do not depend on it.
    """
    check_recipe(recipe)
    require_reference(checkpoint)
    for spec in recipe.artifacts:
        if spec.vocabulary is not None:
            with_vocabulary(checkpoint, Path(spec.vocabulary))
    folders = {output / spec.name: spec for spec in recipe.artifacts}
    with release_folder(output) as steps:
        original = [
            checkpoint.file_hashes(),
            checkpoint.window_used,
            checkpoint.prompts.model_dump(),
            checkpoint.name,
        ]
        texts = None
        if calibration is not None:
            texts = output / CALIBRATION_NAME
            write_calibration(texts, calibration)
            fitted = sum(text.role == "query" for text in calibration)
            tell(
                f"calibration: {len(calibration) - fitted} documents, {fitted} questions, none "
                "of them judged"
            )
        _export_all(
            folders,
            checkpoint,
            original,
            steps=steps,
            force=force,
            jobs=jobs,
            calibration=texts,
            stages=stages,
            tell=tell,
        )
        shutil.rmtree(output / KEPT_NAME, ignore_errors=True)
        report = _judge(
            list(folders),
            checkpoint,
            original,
            recipe=recipe,
            corpus=corpus,
            steps=steps,
            stages=stages,
            tell=tell,
            language=language,
        )
        timed = _timed(list(folders), output, steps, bench=bench, tell=tell)
        verdicts = {folder: verdict_of(folder, report) for folder in folders}
        packages = package_all(
            folders,
            verdicts,
            checkpoint,
            report,
            corpus=corpus,
            language=recipe.language,
            steps=steps,
            force=force,
            tell=tell,
        )
        offers = [
            _offer(folder, tuple(name for name, held in packages.items() if folder in held), timed)
            for folder in folders
        ]
        closed = {
            folder.name: f"{verdict.verdict}: {'; '.join(verdict.reasons)}"
            for folder, verdict in verdicts.items()
            if verdict.verdict != "pass" and folders[folder].required
        }
        page = render_overview(
            report, offers, closed=list(closed), machine=_machine(timed), words=words_of(language)
        )
        write_text(output / INDEX_NAME, page)
    return ReleaseOutcome(
        report=report,
        packages=tuple(str(output / name) for name in packages),
        overview=str(output / INDEX_NAME),
        closed=tuple(f"{name} {reason}" for name, reason in closed.items()),
    )


def _export_all(
    folders: Mapping[Path, ArtifactSpec],
    checkpoint: Checkpoint,
    original: list[Any],
    *,
    steps: Steps,
    force: bool,
    jobs: int | None,
    calibration: Path | None,
    stages: Stages,
    tell: Tell,
) -> None:
    fitted = None if calibration is None else sha256_file(calibration)
    depends = {
        folder: fingerprint(
            original,
            spec.model_dump(include=MAKES_AN_ARTIFACT),
            spec.vocabulary and sha256_file(Path(spec.vocabulary) / MAP_NAME),
            fitted if calibrates(spec) else None,
        )
        for folder, spec in folders.items()
    }
    missing = {}
    for folder, spec in folders.items():
        if steps.is_done(folder.name, depends[folder]) and _intact(folder):
            tell(f"{folder.name}: unchanged, kept")
        else:
            missing[folder] = spec
    may_replace = {folder: force or steps.is_ours(folder.name) for folder in missing}
    for folder in missing:
        check_output(folder, force=may_replace[folder])
    if jobs is None:
        jobs = jobs_that_fit(checkpoint, exports=len(missing))

    keep = steps.path.parent / KEPT_NAME
    shutil.rmtree(keep, ignore_errors=True)  # of a run that was killed, maybe of other code

    def finished(folder: Path) -> None:
        steps.finish(folder.name, depends[folder])

    if jobs > 1 and len(missing) > 1:
        tell(f"exporting {len(missing)} artifacts, {jobs} at once")
        for folder in missing:
            steps.begin(folder.name)

        def told(folder: Path) -> None:
            finished(folder)
            tell(f"{folder.name}: exported")

        export_side_by_side(
            missing,
            checkpoint,
            jobs=jobs,
            calibration=calibration,
            keep=keep,
            force=may_replace.__getitem__,
            finished=told,
        )
        return
    for folder, spec in missing.items():
        tell(f"{folder.name}: exporting")
        steps.begin(folder.name)
        export_artifact(
            spec,
            checkpoint,
            folder,
            calibration=calibration,
            keep=keep,
            stages=stages,
            force=may_replace[folder],
        )
        release_memory()
        finished(folder)


def _judge(
    folders: list[Path],
    checkpoint: Checkpoint,
    original: list[Any],
    *,
    recipe: Recipe,
    corpus: Corpus,
    steps: Steps,
    stages: Stages,
    tell: Tell,
    language: Language,
) -> ParityReport:
    output = steps.path.parent
    manifests = [sha256_file(folder / MANIFEST_NAME) for folder in folders]
    depends = fingerprint(original, manifests, corpus.sha256, recipe.model_dump(mode="json"))
    if steps.is_done("parity", depends) and all(
        (output / name).is_file() for name in (JSON_NAME, MARKDOWN_NAME, HTML_NAME)
    ):
        tell("parity: unchanged, kept")
        report = read_report(output / JSON_NAME)
        page = render_html(report, words_of(language))
        if page != (output / HTML_NAME).read_text(encoding="utf-8"):  # in another language
            write_report(output, report, language)
        return report
    tell(f"parity: {len(corpus.doc_ids):,} documents, {len(corpus.query_ids):,} questions")
    report = run_parity(
        folders,
        original=open_original(checkpoint),
        corpus=corpus,
        recipe=recipe,
        artifact_source=artifact_source,
        stages=stages,
        cache=output / VECTORS_NAME,
        tell=tell,
    )
    write_report(output, report, language)
    steps.finish("parity", depends)
    return report


def _timed(
    folders: list[Path], output: Path, steps: Steps, *, bench: bool, tell: Tell
) -> BenchReport | None:
    """Return how fast the artifacts are, measured now if `bench` asks for it."""
    path = output / BENCH_NAME
    if bench:
        depends = fingerprint([sha256_file(folder / MANIFEST_NAME) for folder in folders])
        if steps.is_done("bench", depends) and path.is_file():
            tell("bench: unchanged, kept")
        else:
            write_json(path, run_bench(folders, on_progress=lambda line: tell(f"bench: {line}")))
            steps.finish("bench", depends)
    return read_bench(path)


def _machine(timed: BenchReport | None) -> str | None:
    if timed is None:
        return None
    threads = f", {timed.threads} threads" if timed.threads else ""
    return f"{timed.machine}, {timed.cores} cores{threads}, medians of {timed.rounds} rounds"


def _offer(folder: Path, packages: tuple[str, ...], timed: BenchReport | None) -> Offer:
    """Describe one artifact for the overview. A speed of other bytes than these is no speed."""
    digest = sha256_file(folder / MANIFEST_NAME)
    results = timed.results if timed else ()
    found = next((r for r in results if r.manifest_sha256 == digest), None)
    speed = None
    if found is not None:
        batch, short = (found.timings[SHAPES.index(shape)] for shape in ((8, 128), (1, 24)))
        speed = Speed(
            tokens_per_second=batch.tokens_per_second,
            milliseconds=short.milliseconds,
            load_seconds=found.load_seconds,
            peak_memory_bytes=found.peak_memory_bytes,
        )
    return Offer(name=folder.name, manifest=read_manifest(folder), packages=packages, speed=speed)


def _intact(folder: Path) -> bool:
    try:
        check_files(folder, read_manifest(folder))
    except BadInput:
        return False
    return True
