"""What a repository of files gets of a release: the card, the reports, and every package."""

from pathlib import Path

from exporter.errors import BadInput
from exporter.manifest import MANIFEST_NAME
from exporter.packages.assemble import Packager
from exporter.packages.signature import SIGNATURE_NAME, sign
from exporter.packages.terms import read_terms
from exporter.registry import PACKAGES, resolve
from exporter.release.bare_report import REPORT_NAMES, count_texts, report_files
from exporter.release.publication import (
    Content,
    Publication,
    PublishedFile,
    refuse_link,
    size_of,
    sound_package,
    stated_licence,
)
from exporter.release.target import Asked, Prepared
from exporter.report.write import JSON_NAME, read_report

CARD_NAME = "README.md"
FOLDER = "packages"


def plan_release(folder: Path, repository: str, asked: Asked, *, target: str) -> Prepared:
    """Return what of a release goes along, and every file by its path in the repository.

    folder: holds parity.json, the card (README.md) and packages/, as `release` and `package` leave
    them. Nothing else of it is published. Raises GateClosed for a package that did not pass, unless
    the reason that it was packaged for is given again; BadInput for one that is damaged or holds a
    page of the user's articles without `with_texts`, and for a card of another licence than the
    checkpoint's.
    """
    report = read_report(folder / JSON_NAME)
    card = folder / CARD_NAME
    for name in (CARD_NAME, *REPORT_NAMES, FOLDER):
        refuse_link(folder / name)
    if not card.is_file():
        raise BadInput(
            f"'{folder}' has no card; write it: lawvault card --report {folder / JSON_NAME}"
        )
    licence = stated_licence(card, read_terms(asked.checkpoint))
    files: dict[str, Content] = {
        CARD_NAME: card,
        **report_files(folder, report, with_texts=asked.with_texts),
    }
    texts = dict.fromkeys(REPORT_NAMES, count_texts(report) if asked.with_texts else 0)
    names, overridden = [], {}
    for package in sorted((folder / FOLDER).glob("*")):
        if not package.is_dir() or package.name.startswith("."):
            continue
        reason, shown = _checked(package, asked)
        names.append(package.name)
        if reason is not None:
            overridden[package.name] = reason
        if shown:
            texts[f"{FOLDER}/{package.name}/{MANIFEST_NAME}"] = shown
        files |= _package_files(package, asked.key)
    if not names:
        raise BadInput(f"'{folder}' holds no {FOLDER}/; package what passed: lawvault package")
    found = Publication(
        target=target,
        repository=repository,
        private=asked.private,
        licence=licence,
        packages=tuple(names),
        overridden=overridden,
        files=tuple(
            PublishedFile(path=name, size_bytes=size_of(content), texts=texts.get(name, 0))
            for name, content in files.items()
        ),
    )
    return Prepared(found, files)


def _checked(package: Path, asked: Asked) -> tuple[str | None, int]:
    """Return why a package goes without a pass, and how many of the user's texts it shows."""
    manifest, reason = sound_package(
        package, checkpoint=asked.checkpoint, override_reason=asked.override_reason
    )
    packager: Packager = resolve(PACKAGES, manifest.package, what="package")
    shown = packager.shown_texts(package) if packager.shown_texts else 0
    if shown and not asked.with_texts:
        raise BadInput(
            f"'{package}' has a search page with {shown:,} of your articles; package it again "
            "without --corpus, or publish with texts"
        )
    return reason, shown


def _package_files(package: Path, key: Path | None) -> dict[str, Content]:
    within = f"{FOLDER}/{package.name}"
    files: dict[str, Content] = {
        f"{within}/{path.relative_to(package).as_posix()}": path
        for path in sorted(p for p in package.rglob("*") if p.is_file())
        if path.parent.name != "__pycache__"
    }
    if key is not None:
        files[f"{within}/{SIGNATURE_NAME}"] = sign(package, key)
    return files
