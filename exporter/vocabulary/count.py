"""Which pieces texts have, and how many of the texts have only kept ones."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.vocabulary import CountedTexts
from exporter.corpus import beir
from exporter.corpus.calibration import read_texts
from exporter.corpus.questions import read_questions
from exporter.errors import BadInput

BATCH = 512
"""Texts tokenized at a time."""


@dataclass(frozen=True)
class NamedTexts:
    """Texts as the model gets them, prompts applied."""

    name: str
    texts: tuple[str, ...]

    @property
    def counted(self) -> CountedTexts:
        """Return what vocabulary.json says of them."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode() + b"\0")
        return CountedTexts(name=self.name, texts=len(self.texts), sha256=digest.hexdigest())


def documents_of(folder: Path, prompts: Prompts) -> NamedTexts:
    """Return the documents of a folder in BEIR's layout. Raises BadInput naming file and line."""
    found = beir.read_documents(folder)
    return NamedTexts(
        f"documents of {folder.resolve().name}",
        tuple(prompts.render_document(text, title=title) for title, text in found.values()),
    )


def questions_of(folder: Path, prompts: Prompts) -> NamedTexts | None:
    """Return the questions of a folder in BEIR's layout, of all its splits; None where there are
    none. Raises BadInput naming file and line."""
    if not any(folder.glob("queries*.jsonl")):
        return None
    asked = beir.read_questions(folder).values()
    return NamedTexts(
        f"questions of {folder.resolve().name}", tuple(map(prompts.render_query, asked))
    )


def texts_of(path: Path, prompts: Prompts) -> NamedTexts:
    """Return the texts of a file, each in its role, in both where it has none. Raises BadInput."""
    if not path.is_file():
        raise BadInput(f"no such file of texts: '{path}'; pass --texts FILE, or --corpus FOLDER")
    found = tuple(text.rendered(prompts) for text in read_texts(path))
    if not found:
        raise BadInput(f"'{path}' holds no texts; write one a line")
    return NamedTexts(path.name, found)


def asked_in(path: Path, prompts: Prompts) -> NamedTexts:
    """Return the questions of a file, one a line or BEIR's queries.jsonl. Raises BadInput."""
    if not path.is_file():
        raise BadInput(f"no such file of questions: '{path}'; pass --held-out FILE")
    found = read_questions(path)
    return NamedTexts(f"questions of {path.name}", tuple(map(prompts.render_query, found.texts)))


def prompts_of(checkpoint: Checkpoint) -> NamedTexts:
    """Return the prompts themselves, those that are saved for other tasks too."""
    prompts = checkpoint.prompts
    found = (
        prompts.render_query(""),
        prompts.render_document("", title=""),
        prompts.render_document("", title="一"),
        *checkpoint.saved_prompts.values(),
    )
    return NamedTexts("prompts", tuple(dict.fromkeys(found)))


def tokenized(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each text and its ids, special tokens included, nothing cut."""
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        for text, encoded in zip(part, tokenizer.encode_batch(list(part)), strict=True):
            yield text, encoded.ids


@dataclass(frozen=True)
class Share:
    """How many texts have kept pieces only. `lost`: how often each id that is not kept occurs, of
    `pieces` in all."""

    texts: int
    identical: int
    pieces: int
    lost: Counter[int]


def share_kept(rows: Sequence[Sequence[int]], kept: Collection[int]) -> Share:
    """Return how much of the original's token ids, one row a text, is kept."""
    lost: Counter[int] = Counter()
    identical = 0
    for row in rows:
        gone = [i for i in row if i not in kept]
        identical += not gone
        lost.update(gone)
    return Share(len(rows), identical, sum(map(len, rows)), lost)
