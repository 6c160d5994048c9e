"""index.html of a package: ask a question, get the ten best articles, all inside the browser."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.bundled import bundled
from exporter.errors import BadInput
from exporter.manifest import Manifest
from exporter.packages.transformersjs.article_vectors import (
    ABOUT_NAME,
    ARTICLES_NAME,
    Article,
    StoredVectors,
)
from exporter.packages.transformersjs.npm import PACKAGE, TESTED
from exporter.records import write_json, write_text

PAGE = Path(__file__).parent / "static" / "page"
BUNDLED_NAME = "recipes/corpora/lawvault-mini/corpus.jsonl"
BUNDLED_QUESTIONS = "recipes/corpora/lawvault-mini/queries.jsonl"
FIELDS = ("_id", "title", "text")
MOST_ARTICLES = 1000
"""Unless more are asked for: packaging embeds each, at about 0.05 s for EmbeddingGemma in int8."""

Embed = Callable[[Path, Manifest, Sequence[Article]], StoredVectors]
"""Writes the vectors of articles by one artifact below the stage."""


def write_page(
    stage: Path,
    runtime: Sequence[Path],
    artifacts: Sequence[tuple[Path, Manifest]],
    *,
    embed: Embed,
    articles: Sequence[Article] | None = None,
    most: int | None = None,
) -> None:
    """Write index.html, its scripts, articles with their vectors, and what runs the model, to
    `stage`.

    `runtime`: files of npm packages, from `npm.runtime_files`. `articles`: those that the page
    searches until its reader chooses others, the first `most` of them, 0 for all, None for
    `MOST_ARTICLES`; the bundled ones for None. The page says in large letters that those are
    invented. `embed`: called with each artifact.
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
    shown = taken[: (MOST_ARTICLES if most is None else most) or len(taken)]
    write_text(
        stage / ARTICLES_NAME,
        "".join(
            json.dumps(dict(zip(FIELDS, article, strict=True)), ensure_ascii=False) + "\n"
            for article in shown
        ),
    )
    write_json(
        stage / ABOUT_NAME,
        {
            "articles": len(shown),
            "of": len(taken),
            "invented": set(shown) <= set(invented),
            "vectors": {
                manifest.scheme: embed(folder, manifest, shown).model_dump(mode="json")
                for folder, manifest in artifacts
            },
        },
    )


def invented_questions() -> list[str]:
    """Return the questions that the bundled articles answer."""
    lines = bundled(BUNDLED_QUESTIONS).read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines]


def _invented() -> list[Article]:
    lines = bundled(BUNDLED_NAME).read_text(encoding="utf-8").splitlines()
    return [(row["_id"], row["title"], row["text"]) for row in map(json.loads, lines)]
