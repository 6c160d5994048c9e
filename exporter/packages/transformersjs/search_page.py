"""index.html of a package: ask a question, get the ten best articles, all inside the browser."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.bundled import bundled
from exporter.errors import BadInput
from exporter.packages.transformersjs.npm import PACKAGE, TESTED
from exporter.records import write_json, write_text

PAGE = Path(__file__).parent / "static" / "page"
BUNDLED_NAME = "recipes/corpora/lawvault-mini/corpus.jsonl"
ARTICLES_NAME = "articles.jsonl"
ABOUT_NAME = "articles.json"
FIELDS = ("_id", "title", "text")
PageArticle = tuple[str, str, str]
"""Id, title, text."""
MOST_ARTICLES = 1000
"""The reader's browser embeds each on the first visit, at about 0.1 s for EmbeddingGemma."""


def write_page(
    stage: Path, runtime: Sequence[Path], *, articles: Sequence[PageArticle] | None = None
) -> None:
    """Write index.html, its scripts, articles, and what runs the model, to `stage`.

    `runtime`: files of npm packages, from `npm.runtime_files`. `articles`: those that the page
    searches until its reader chooses others, the first `MOST_ARTICLES` of them; the bundled ones
    for None. The page says in large letters that those are invented.
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
    shutil.copyfile(licence, vendor / "LICENSE.transformers.js.txt")
    invented = _invented()
    taken = list(articles or invented)
    shown = taken[:MOST_ARTICLES]
    write_text(
        stage / ARTICLES_NAME,
        "".join(
            json.dumps(dict(zip(FIELDS, article, strict=True)), ensure_ascii=False) + "\n"
            for article in shown
        ),
    )
    write_json(
        stage / ABOUT_NAME,
        {"articles": len(shown), "of": len(taken), "invented": set(shown) <= set(invented)},
    )


def _invented() -> list[PageArticle]:
    lines = bundled(BUNDLED_NAME).read_text(encoding="utf-8").splitlines()
    return [(row["_id"], row["title"], row["text"]) for row in map(json.loads, lines)]
