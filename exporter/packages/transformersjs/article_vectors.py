"""The articles' vectors, by the packaged files themselves: the page embeds the question only.

Stored as whole numbers with a scale a row, 8 bits where questions prove that they find the same
articles, 16 bits where they do not or there are none. The question stays in float32.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exporter.checkpoint.contents import Prompts
from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.manifest import Manifest
from exporter.progress import Stages, silent
from exporter.records import Record
from exporter.vectors.codes import coded
from exporter.vectors.embed import embed_each
from exporter.vectors.rows import Vectors
from exporter.vectors.search import search

FOLDER = "vectors"
ARTICLES_NAME = "articles.jsonl"
ABOUT_NAME = "articles.json"
TEN = 10
ENOUGH = 0.99
"""Least overlap@10 of 8 bits with float32: a file of 8 bits itself keeps about .99 of the
original's first ten, and its table should cost no more."""
FEWEST_QUESTIONS, MOST_QUESTIONS = 20, 500

Article = tuple[str, str, str]
"""Id, title, text."""


class StoredVectors(Record):
    """The vectors of one file. `overlap_at_10`: the share of a question's first ten by float32
    vectors that these find, over so many `questions`; None where there were too few to measure."""

    file: str
    bits: int
    dim: int
    overlap_at_10: float | None
    questions: int


def write_vectors(
    stage: Path,
    artifact: Path,
    manifest: Manifest,
    articles: Sequence[Article],
    *,
    questions: Sequence[str] = (),
    cache: Path | None = None,
    stages: Stages = silent,
) -> StoredVectors:
    """Embed `articles` with an artifact and write their vectors below `stage`.

    The file holds a float32 scale for each article, then its whole numbers, little-endian.
    `questions`: of the same domain, asked to choose the width. `cache`: a folder that holds vectors
    from before. Raises BadInput for vectors that are not finite.
    """
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="lawvault-vectors-") as temporary:
            return write_vectors(
                stage,
                artifact,
                manifest,
                articles,
                questions=questions,
                cache=Path(temporary),
                stages=stages,
            )
    prompts = manifest.prompts
    texts = [rendered(article, prompts) for article in articles]
    asked = list(dict.fromkeys(question.strip() for question in questions))[:MOST_QUESTIONS]
    source = artifact_source(artifact)
    rows = embed_each(source, texts, cache=cache, start=stages)
    vectors = rows.block(0, len(rows))
    bits, overlap = 16, None
    if len(asked) >= FEWEST_QUESTIONS:
        found = embed_each(
            source,
            [prompts.render_query(question) for question in asked],
            cache=cache,
            start=stages,
        )
        overlap = overlap_of_codes(found.block(0, len(found)), vectors, bits=8)
        bits = 8 if overlap >= ENOUGH else 16
    scales, codes = coded(vectors, bits=bits)
    file = f"{FOLDER}/{manifest.scheme}.i{bits}"
    (stage / FOLDER).mkdir(exist_ok=True)
    with (stage / file).open("wb") as handle:
        handle.write(scales.astype("<f4").tobytes())
        handle.write(codes.astype(f"<i{bits // 8}").tobytes())
    return StoredVectors(
        file=file,
        bits=bits,
        dim=vectors.shape[1],
        overlap_at_10=None if overlap is None else round(overlap, 4),
        questions=len(asked),
    )


def read_some(folder: Path, scheme: str, *, count: int) -> tuple[list[Article], Vectors] | None:
    """Return `count` of a package's articles, spread over all, and their vectors (count, dim) by
    the file of `scheme`; None where the package has none. Raises BadInput for broken files."""
    about = folder / ABOUT_NAME
    if not about.is_file():
        return None
    try:
        stored = StoredVectors.model_validate(read_object(about)["vectors"][scheme])
        lines = (folder / ARTICLES_NAME).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        data = (folder / stored.file).read_bytes()
        scales = np.frombuffer(data, "<f4", len(rows))
        codes = np.frombuffer(data, f"<i{stored.bits // 8}", offset=scales.nbytes)
        codes = codes.reshape(len(rows), stored.dim)
        at = sorted({round(i) for i in np.linspace(0, len(rows) - 1, count)})
        articles = [(str(rows[i]["_id"]), rows[i]["title"], rows[i]["text"]) for i in at]
        return articles, codes[at] * scales[at, None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"'{folder}': the articles and their vectors do not go together ({error!r}); package "
            "again"
        ) from None


def rendered(article: Article, prompts: Prompts) -> str:
    """Return what is embedded of an article. The page, too, takes white space off both ends before
    it applies the prompt."""
    _, title, text = article
    return prompts.render_document(text.strip(), title=title.strip())


def overlap_of_codes(questions: Vectors, vectors: Vectors, *, bits: int) -> float:
    """Return the mean share of each question's first ten articles by float32 vectors that codes
    find. questions: (q, dim), vectors: (n, dim), unit rows."""
    scales, codes = coded(vectors, bits=bits)
    first = min(TEN, len(vectors))
    right = search(questions, vectors, k=first)
    scores = (questions.astype(np.float64) @ codes.T.astype(np.float64)) * scales
    found = np.argsort(-scores, axis=1, kind="stable")[:, :first]
    shared = [len({*a} & {*b}) for a, b in zip(right.tolist(), found.tolist(), strict=True)]
    return float(np.mean(shared)) / first
