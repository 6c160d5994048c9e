"""A release: every artifact of a recipe exported, judged and, where it passed, packaged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter import __version__
from exporter.bench import SHAPES, BenchReport, read_bench, run_bench
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.gguf.export import export_gguf
from exporter.gguf.options import GgufOptions, check_type_and_options
from exporter.manifest import (
    MANIFEST_NAME,
    RECORDED_LIBRARIES,
    check_files,
    library_versions,
    read_manifest,
    sha256_file,
)
from exporter.onnx.export import export_onnx
from exporter.package.golden import Golden
from exporter.package.overview import INDEX_NAME, Offer, Speed, render_overview
from exporter.package.verdict import verdict_of
from exporter.packaging import package_artifacts
from exporter.parity.corpus import Corpus
from exporter.parity.records import ParityReport
from exporter.parity.report import HTML_NAME, JSON_NAME, MARKDOWN_NAME, read_report, write_report
from exporter.parity.run import VECTORS_NAME, run_parity
from exporter.progress import Stages
from exporter.recipe import ArtifactSpec, Recipe
from exporter.records import Record, canonical_json, write_json, write_text
from exporter.registry import GGUF_TYPES, ONNX_SCHEMES, PACKAGERS, resolve
from exporter.runtimes.open import artifact_source, open_original

STEPS_NAME, BENCH_NAME = "release.json", "bench.json"
MAKES_AN_ARTIFACT = {"kind", "scheme", "plan", "embedding_type", "imatrix"}
Tell = Callable[[str], None]


class ReleaseOutcome(Record):
    """What a release came to. `closed`: why it may not go out, one line each."""

    report: ParityReport
    packages: tuple[str, ...]
    overview: str
    closed: tuple[str, ...]


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be carried out, before any long step. Raises BadInput."""
    for spec in recipe.artifacts:
        registry = ONNX_SCHEMES if spec.kind == "onnx" else GGUF_TYPES
        scheme = "none" if (spec.kind, spec.scheme) == ("onnx", "fp32") else spec.scheme
        if scheme not in registry:
            known = ", ".join(registry).replace("none", "fp32")
            raise BadInput(f"the recipe asks for {spec.kind} {spec.scheme} (known: {known})")
        recipe.limits_for(spec.scheme)
        if spec.kind == "gguf":
            check_type_and_options(spec.scheme, _gguf_options(spec))
        for package in spec.packages:
            packager = resolve(PACKAGERS, package, kind="package")
            takes = packager.schemes or (spec.scheme,)
            if spec.kind != packager.kind or spec.scheme not in takes:
                named = f" {', '.join(packager.schemes)}" if packager.schemes else ""
                raise BadInput(f"the recipe packages {spec.kind} {spec.scheme} for {package}, "
                               f"which takes {packager.kind}{named}")  # fmt: skip


class Steps:
    """Which steps are done, by the hash of everything they depend on. Kept in release.json."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STEPS_NAME
        try:
            data: Any = json.loads(self.path.read_text(encoding="utf-8"))
            self.done: dict[str, str] = {str(k): str(v) for k, v in data.items()}
        except (OSError, ValueError, AttributeError):
            # Lost or damaged bookkeeping repeats the work, it does not stop it.
            self.done = {}

    def is_done(self, name: str, depends: str) -> bool:
        """Return whether the step was finished with exactly these inputs."""
        return self.done.get(name) == depends

    def finish(self, name: str, depends: str) -> None:
        """Record the step, at once: a run that is stopped resumes behind it."""
        self.done[name] = depends
        write_json(self.path, self.done)


def fingerprint(*parts: Any) -> str:
    """Return a hash of values and of this package's own source and libraries."""
    source = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".j2", ".mjs", ".css"):
            source.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    everything = [__version__, library_versions(RECORDED_LIBRARIES), source.hexdigest(), *parts]
    return hashlib.sha256(canonical_json(everything).encode()).hexdigest()


def run_release(
    checkpoint: Checkpoint, *, recipe: Recipe, corpus: Corpus, output: Path, force: bool,
    stages: Stages, tell: Tell, bench: bool = False,
) -> ReleaseOutcome:  # fmt: skip
    """Carry out `recipe` below `output`. Returns the outcome; raises BadInput for bad input.

    A step is repeated only where something that it depends on changed: checkpoint, prompts,
    window, recipe, corpus, library versions or this package's source. The last step writes one
    overview page; `bench` times the artifacts for it, into bench.json, the one file that differs
    from machine to machine.
    """
    check_recipe(recipe)
    output.mkdir(parents=True, exist_ok=True)
    steps = Steps(output)
    original = [checkpoint.file_hashes(), checkpoint.window_used,
                checkpoint.prompts.model_dump(), checkpoint.name]  # fmt: skip
    folders = []
    for spec in recipe.artifacts:
        name = spec.name
        depends = fingerprint(original, spec.model_dump(include=MAKES_AN_ARTIFACT))
        folders.append(output / name)
        if steps.is_done(name, depends) and _intact(output / name):
            tell(f"{name}: unchanged, kept")
            continue
        tell(f"{name}: exporting")
        _export(spec, checkpoint, output / name, stages=stages,
                force=force or name in steps.done)  # fmt: skip
        steps.finish(name, depends)
    manifests = [sha256_file(folder / MANIFEST_NAME) for folder in folders]
    depends = fingerprint(original, manifests, corpus.sha256, recipe.model_dump(mode="json"))
    if steps.is_done("parity", depends) and all(
        (output / name).is_file() for name in (JSON_NAME, MARKDOWN_NAME, HTML_NAME)
    ):
        tell("parity: unchanged, kept")
        report = read_report(output / JSON_NAME)
    else:
        tell(f"parity: {len(corpus.doc_ids):,} documents, {len(corpus.query_ids):,} questions")
        report = run_parity(
            folders, original=open_original(checkpoint), corpus=corpus, recipe=recipe,
            artifact_source=artifact_source, stages=stages, cache=output / VECTORS_NAME,
        )  # fmt: skip
        write_report(output, report)
        steps.finish("parity", depends)
    packages = []
    goldens: dict[str, Golden] = {}
    closed = []
    offers = []
    timed = _timed(folders, output, steps, bench=bench, tell=tell)
    for spec, folder in zip(recipe.artifacts, folders, strict=True):
        verdict = verdict_of(folder, report)
        if verdict.verdict != "pass":
            if spec.required:
                closed.append(f"{folder.name} {verdict.verdict}: {'; '.join(verdict.reasons)}")
            offers.append(_offer(folder, (), timed))
            continue
        for kind in spec.packages:
            target = output / "packages" / spec.name.replace(spec.kind, kind, 1)
            name = f"packages/{target.name}"
            depends = fingerprint(sha256_file(folder / MANIFEST_NAME), verdict.model_dump())
            if steps.is_done(name, depends) and (target / MANIFEST_NAME).is_file():
                tell(f"{name}: unchanged, kept")
            else:
                tell(f"{name}: packaging")
                package_artifacts(kind, [folder], target, checkpoint=checkpoint, report=report,
                                  force=force or name in steps.done, goldens=goldens)  # fmt: skip
                steps.finish(name, depends)
            packages.append(str(target))
        own = tuple(f"packages/{spec.name.replace(spec.kind, kind, 1)}" for kind in spec.packages)
        offers.append(_offer(folder, own, timed))
    missing = [line.split(" ", 1)[0] for line in closed]
    page = render_overview(report, offers, closed=missing, machine=_machine(timed))
    write_text(output / INDEX_NAME, page)
    return ReleaseOutcome(
        report=report, packages=tuple(packages), overview=str(output / INDEX_NAME),
        closed=tuple(closed),
    )  # fmt: skip


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
            tokens_per_second=batch.tokens_per_second, milliseconds=short.milliseconds,
            load_seconds=found.load_seconds, peak_memory_bytes=found.peak_memory_bytes,
        )  # fmt: skip
    return Offer(name=folder.name, manifest=read_manifest(folder), packages=packages, speed=speed)


def _intact(folder: Path) -> bool:
    try:
        check_files(folder, read_manifest(folder))
    except BadInput:
        return False
    return True


def _export(
    spec: ArtifactSpec, checkpoint: Checkpoint, folder: Path, *, force: bool, stages: Stages
) -> None:
    if spec.kind == "onnx":
        quant = "none" if spec.scheme == "fp32" else spec.scheme
        export_onnx(checkpoint, folder, quant=quant, force=force, stages=stages)
    else:
        export_gguf(
            checkpoint,
            folder,
            type_name=spec.scheme,
            options=_gguf_options(spec),
            force=force,
            stages=stages,
        )


def _gguf_options(spec: ArtifactSpec) -> GgufOptions:
    return GgufOptions(plan=spec.plan, embedding_type=spec.embedding_type, imatrix=spec.imatrix)
