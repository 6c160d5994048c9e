"""A user's texts -> a vocabulary folder: the pieces that they have, and what was asked for."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer

from exporter import __version__
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.checkpoint.vocabulary import VocabularyMap, write_map
from exporter.errors import BadInput, unknown_name
from exporter.hashing import sha256_file
from exporter.progress import Stages, silent
from exporter.staging import check_output, staged_folder
from exporter.vocabulary.bpe import Bpe, read_bpe
from exporter.vocabulary.classes import CLASSES, in_class
from exporter.vocabulary.count import NamedTexts, Share, prompts_of, share_kept, tokenized
from exporter.vocabulary.write import MODEL_NAME, write_tokenizer

COMPARED_BY_MODEL = 2000
"""Texts whose ids by tokenizer.model are compared too."""


@dataclass(frozen=True)
class MadeVocabulary:
    """`steps`: (what for, how many pieces it added), in this order. `held_out`: what is kept of
    texts that were not counted, with the pieces lost most, (piece, times)."""

    map: VocabularyMap
    steps: tuple[tuple[str, int], ...]
    held_out: tuple[tuple[str, Share, tuple[tuple[str, int], ...]], ...]


def make_vocabulary(
    checkpoint: Checkpoint,
    output: Path,
    *,
    counted: Sequence[NamedTexts],
    classes: Sequence[str],
    held_out: Sequence[NamedTexts] = (),
    force: bool = False,
    stages: Stages = silent,
) -> MadeVocabulary:
    """Write the vocabulary to the folder `output`. Same input, same bytes.

    Kept are the pieces of `counted` texts and of all prompts, those of `classes`, bytes, special
    tokens, and all pieces that BPE passes on its way to one. Every counted text is then tokenized
    by what was written, and so is every one of `held_out` that lost nothing: ids must be the old
    ones, one for one. Raises BadInput for a tokenizer that cannot be cut.
    """
    for name in classes:
        if name not in CLASSES:
            raise unknown_name("--keep", name, CLASSES)
    if checkpoint.architecture is None:
        raise BadInput(
            f"'{checkpoint.path}' is {checkpoint.model_type}, whose graph is traced: its table "
            "cannot be cut"
        )
    bpe = read_bpe(checkpoint.path)
    check_output(output, force=force)
    tokenizer = load_tokenizer(checkpoint.path / "tokenizer.json", max_tokens=None)
    counted = (*counted, prompts_of(checkpoint))
    total = sum(len(named.texts) for named in (*counted, *held_out))
    progress = stages("texts tokenized", 2 * total)
    found: Counter[int] = Counter()
    for named in counted:
        for _, ids in tokenized(tokenizer, named.texts):
            found.update(ids)
            progress(1)
    rows = checkpoint.architecture.vocab_size
    pieces, steps = _chosen(bpe, found, classes, rows=rows)
    kept = sorted(i for piece in pieces if (i := _id(bpe, piece)) < rows)
    to = {old: new for new, old in enumerate(kept)}
    shares = []
    for named in held_out:
        ids_of = [ids for _, ids in tokenized(tokenizer, named.texts)]
        share = share_kept(ids_of, to.keys())
        most = tuple(
            (str(tokenizer.id_to_token(i)), times) for i, times in share.lost.most_common(10)
        )
        shares.append((named.name, share, most))
        progress(len(named.texts))
    with staged_folder(output, force=force) as stage:
        write_tokenizer(stage, bpe, to, source=checkpoint.path)
        cut = load_tokenizer(stage / "tokenizer.json", max_tokens=None)
        for named in (*counted, *held_out):
            progress(_compare(tokenizer, cut, named, to))
        if (stage / MODEL_NAME).is_file():
            _compare_model(cut, stage / MODEL_NAME, counted)
        record = VocabularyMap(
            tool_version=__version__,
            tokenizer_sha256=sha256_file(checkpoint.path / "tokenizer.json"),
            pieces=rows,
            kept=tuple(kept),
            classes=tuple(classes),
            counted=tuple(named.counted for named in counted),
            files={p.name: sha256_file(p) for p in sorted(stage.iterdir())},
        )
        write_map(stage, record)
    return MadeVocabulary(record, steps, tuple(shares))


def _id(bpe: Bpe, piece: str) -> int:
    return bpe.added[piece] if piece in bpe.added else bpe.ids[piece]


def _chosen(
    bpe: Bpe, found: Collection[int], classes: Sequence[str], *, rows: int
) -> tuple[set[str], tuple[tuple[str, int], ...]]:
    """Return the pieces to keep, and how many each reason added."""
    always = {piece for piece in bpe.always() if _id(bpe, piece) < rows}
    names = {i: piece for piece, i in bpe.ids.items()}
    seen = {names[i] for i in found if i in names}
    seen |= {piece for piece, i in bpe.added.items() if i in found and i < rows}
    pieces = seen | always
    steps = [("in the texts", len(seen)), ("bytes, special tokens", len(pieces) - len(seen))]
    plain = [piece for piece in bpe.ids if piece not in bpe.added]
    for name in classes:
        before = len(pieces)
        pieces |= bpe.closed(piece for piece in plain if in_class(name, piece))
        steps.append((name, len(pieces) - before))
    before = len(pieces)
    # What texts have is reachable; added tokens are found whole.
    pieces |= bpe.closed(piece for piece in pieces if piece not in always)
    steps.append(("on the way to these", len(pieces) - before))
    return pieces, tuple(steps)


def _compare(old: Tokenizer, new: Tokenizer, named: NamedTexts, to: Mapping[int, int]) -> int:
    """Check that texts without a lost piece keep their ids, through `to`. Returns how many texts
    were looked at. Raises BadInput naming the first that does not."""
    pairs = zip(tokenized(old, named.texts), tokenized(new, named.texts), strict=True)
    for (text, before), (_, after) in pairs:
        if all(i in to for i in before) and [to[i] for i in before] != after:
            raise BadInput(
                f"the tokenizer cannot be cut: {text[:60]!r} has other pieces although all of its "
                "own are kept; export without --vocabulary"
            )
    return len(named.texts)


def _compare_model(new: Tokenizer, path: Path, counted: Sequence[NamedTexts]) -> None:
    """Check that the cut tokenizer.model gives the ids of the cut tokenizer.json."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = islice((text for named in counted for text in named.texts), COMPARED_BY_MODEL)
    for text in texts:
        if model.encode(text) != new.encode(text, add_special_tokens=False).ids:
            raise BadInput(
                f"the cut tokenizer.model and tokenizer.json differ for {text[:60]!r}; does "
                "'lawvault inspect' name a difference of the checkpoint's own?"
            )
