"""index.html of a package: ask a question, get the ten best articles, all inside the browser."""

import json
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from exporter.errors import BadInput
from exporter.package.npm import PACKAGE, TESTED

PAGE = Path(__file__).parent / "static" / "transformersjs" / "page"
BUNDLED_NAME = "recipes/corpora/lawvault-mini/corpus.jsonl"
REPOSITORY = Path(__file__).resolve().parents[2]
FIELDS = ("_id", "title", "text")


def write_page(stage: Path, runtime: Sequence[Path]) -> None:
    """Write index.html, its scripts, the bundled articles, and what runs the model, to `stage`.

    `runtime`: files of npm packages, from `exporter.package.npm.runtime_files`.
    """
    shutil.copyfile(PAGE / "index.html", stage / "index.html")
    folder = stage / "page"
    vendor = folder / "vendor"
    vendor.mkdir(parents=True)
    for path in sorted(PAGE.iterdir()):
        if path.name != "index.html":
            shutil.copyfile(path, (vendor if path.name == "NOTICE" else folder) / path.name)
    for path in runtime:
        shutil.copyfile(path, vendor / path.name)
    licence = runtime[0].parents[1] / "LICENSE"
    if not licence.is_file():
        raise BadInput(f"'{licence}' is missing; it must go with {PACKAGE} {TESTED}")
    shutil.copyfile(licence, vendor / "LICENSE.transformers.js")
    lines = []
    for line in _bundled().read_text(encoding="utf-8").splitlines():
        article = json.loads(line)
        lines.append(json.dumps({k: article[k] for k in FIELDS}, ensure_ascii=False) + "\n")
    (stage / "articles.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def _bundled() -> Path:
    """Return the bundled file: beside the package in a working copy, else where pip put it."""
    beside = REPOSITORY / BUNDLED_NAME
    if beside.is_file():
        return beside
    try:
        installed = metadata.files("lawvault-exporter") or []
    except metadata.PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.as_posix().endswith(BUNDLED_NAME):
            return Path(str(entry.locate())).resolve()
    raise BadInput("the bundled articles are not installed with the package")
