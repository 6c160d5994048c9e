"""The packages of a release: made of what passed, withdrawn where it no longer does."""

import shutil
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import Corpus
from exporter.errors import BadInput
from exporter.format import CUT
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME
from exporter.packages.assemble import Packager
from exporter.packages.sums import check_sums
from exporter.packages.verdict import PackageVerdict
from exporter.parity.results import ParityReport
from exporter.parity.run import VECTORS_NAME
from exporter.recipe import ArtifactSpec, Language
from exporter.registry import PACKAGES, resolve
from exporter.release.package_one import Goldens, package_artifacts
from exporter.release.steps import Steps, fingerprint

Tell = Callable[[str], None]


def package_all(
    folders: Mapping[Path, ArtifactSpec],
    verdicts: Mapping[Path, PackageVerdict],
    checkpoint: Checkpoint,
    report: ParityReport,
    *,
    corpus: Corpus,
    language: Language,
    steps: Steps,
    force: bool,
    tell: Tell,
) -> dict[str, list[Path]]:
    """Write the packages of what passed. Returns their names and the artifacts in each."""
    output = steps.path.parent
    passed = {f: spec for f, spec in folders.items() if verdicts[f].verdict == "pass"}
    packages = packages_of(passed)
    _withdraw(output, steps, keep=packages, tell=tell)
    goldens: Goldens = {}
    articles = list(zip(corpus.doc_ids, corpus.titles, corpus.texts, strict=True))
    for name, (consumer, held) in packages.items():
        packager: Packager = resolve(PACKAGES, consumer, what="package")
        around = packager.environment() if packager.environment else None
        depends = fingerprint(
            consumer,
            around,
            corpus.sha256,
            language,
            [(sha256_file(f / MANIFEST_NAME), verdicts[f].model_dump()) for f in held],
        )
        if steps.is_done(name, depends) and is_sound(output / name):
            tell(f"{name}: unchanged, kept")
            continue
        tell(f"{name}: packaging")
        may_replace = force or steps.is_ours(name)
        steps.begin(name)
        package_artifacts(
            consumer,
            held,
            output / name,
            checkpoint=checkpoint,
            report=report,
            force=may_replace,
            goldens=goldens,
            settings={
                "articles": articles,
                "questions": corpus.queries,
                "cache": output / VECTORS_NAME,
            },
            language=language,
        )
        if packager.remark and (said := packager.remark(output / name)):
            tell(f"{name}: {said}")
        steps.finish(name, depends)
    return {name: held for name, (_, held) in packages.items()}


def _withdraw(output: Path, steps: Steps, *, keep: Container[str], tell: Tell) -> None:
    """Remove packages of an earlier run that this one does not stand behind."""
    for name in [n for n in steps.done if n.startswith("packages/") and n not in keep]:
        if is_sound(output / name):
            tell(f"{name}: not proven any more, removed")
            shutil.rmtree(output / name)
        elif (output / name).exists():
            tell(f"{name}: not proven any more; it was changed by hand, remove it yourself")
            continue
        steps.forget(name)


def packages_of(folders: Mapping[Path, ArtifactSpec]) -> dict[str, tuple[str, list[Path]]]:
    """Return each package's name below the output, its consumer, and its artifacts: one, or
    all that ask for it where the consumer takes several."""
    found: dict[str, tuple[str, list[Path]]] = {}
    for folder, spec in folders.items():
        for consumer in spec.packages:
            packager = resolve(PACKAGES, consumer, what="package")
            own = spec.name.replace(spec.format, consumer, 1)
            if packager.several:  # one tokenizer for all of them
                own = consumer if spec.vocabulary is None else f"{consumer}-{CUT}"
            found.setdefault(f"packages/{own}", (consumer, []))[1].append(folder)
    return found


def is_sound(package: Path) -> bool:
    try:
        return not check_sums(package)
    except BadInput:
        return False
