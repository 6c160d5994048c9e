"""A vocabulary cut to a domain: which pieces stay, and that texts keep theirs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.vocabulary import MAP_NAME, VocabularyMap, read_map, with_vocabulary
from exporter.errors import BadInput
from exporter.vocabulary.bpe import BYTES, read_bpe
from exporter.vocabulary.classes import CLASSES, in_class
from exporter.vocabulary.count import NamedTexts, documents_of, questions_of, share_kept
from exporter.vocabulary.make import make_vocabulary
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE
from parity_tests.real import real_checkpoint

COUNTED = NamedTexts(
    "some",
    ("房东不退押金怎么办？", "第三十一条　押金最高不超过两个月租金。", "the landlord\n\nand  2026"),
)


def make(checkpoint: Checkpoint, folder: Path, **given: Any) -> VocabularyMap:
    values: dict[str, Any] = {"counted": [COUNTED], "classes": ()} | given
    return make_vocabulary(checkpoint, folder, **values).map


@pytest.fixture(scope="session")
def small(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "vocabulary"
    make(tiny, folder)
    return folder


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


WORDS = "房东不退押金怎么办第三十一条租赁出承人应当the landlord 26，。？\n　 😀𠮷é<eos>"


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(WORDS), max_size=40))
def test_a_text_whose_pieces_are_all_kept_has_the_same_pieces(
    tiny: Checkpoint, small: Path, text: str
) -> None:
    old, new = tokenizer(tiny.path), tokenizer(small)
    to = {i: at for at, i in enumerate(read_map(small).kept)}
    before, after = old.encode(text).ids, new.encode(text).ids
    if all(i in to for i in before):
        assert after == [to[i] for i in before]
    assert new.decode(after) == old.decode(before)  # nothing is lost, only spelled otherwise


def test_fewer_pieces_are_kept_and_each_can_be_reached(tiny: Checkpoint, small: Path) -> None:
    kept, cut = read_map(small), tokenizer(small)
    assert len(kept.kept) < kept.pieces
    assert cut.get_vocab_size() == len(kept.kept)
    added = set(read_bpe(small).added)
    for piece, i in cut.get_vocab().items():
        if piece not in BYTES and piece not in added:
            text = piece.replace("\u2581", " ")
            assert cut.encode(text, add_special_tokens=False).ids == [i], piece


def test_bytes_and_special_tokens_always_stay_and_placeholders_do_not(
    tiny: Checkpoint, small: Path
) -> None:
    names = tokenizer(small).get_vocab().keys()
    assert set(BYTES) <= names
    assert {"<pad>", "<eos>", "<bos>", "<unk>"} <= names
    assert not any(name.startswith("<unused") for name in names)


def test_tokenizer_model_gives_the_same_ids(small: Path) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(small / "tokenizer.model"))
    cut = tokenizer(small)
    for text in (*COUNTED.texts, "网上买的东西坏了", "emoji 😀"):
        assert model.encode(text) == cut.encode(text, add_special_tokens=False).ids
    assert (model.bos_id(), model.eos_id(), model.unk_id()) == (2, 1, 3)


def test_the_same_texts_give_the_same_bytes(tiny: Checkpoint, small: Path, tmp_path: Path) -> None:
    make(tiny, tmp_path / "again")
    for path in sorted(small.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_classes_say_what_belongs_to_them() -> None:
    assert in_class("cjk", "法院")
    assert in_class("cjk", "\u2581第")
    assert not in_class("cjk", "的に")  # kana: Japanese
    assert in_class("ascii", "q")
    assert not in_class("ascii", "the")
    assert in_class("digits", "３")
    assert not in_class("digits", "২")  # Bengali
    assert in_class("punctuation", "？）")
    assert in_class("punctuation", "\u3000")
    assert not in_class("punctuation", "===")
    assert not any(in_class(name, "\u2581") for name in CLASSES)


def test_a_class_adds_pieces_that_no_text_has(tiny: Checkpoint, tmp_path: Path) -> None:
    bare = make(tiny, tmp_path / "bare")
    with_all = make(tiny, tmp_path / "all", classes=("cjk",))
    assert set(bare.kept) < set(with_all.kept)


def test_what_is_lost_of_held_out_questions_is_counted(tiny: Checkpoint, tmp_path: Path) -> None:
    asked = NamedTexts("asked", ("房东不退押金", "小区停车位被别人占了"))
    made = make_vocabulary(tiny, tmp_path / "v", counted=[COUNTED], classes=(), held_out=[asked])
    ((_, share, most),) = made.held_out
    rows = [tokenizer(tiny.path).encode(text).ids for text in asked.texts]
    gone = sum(i not in set(made.map.kept) for row in rows for i in row)
    assert share.texts == 2
    assert sum(share.lost.values()) == gone > 0
    assert most[0][1] >= most[-1][1]
    assert share_kept([[1, 2], [1, 9]], {1, 2}).identical == 1


def test_the_questions_of_a_corpus_are_not_counted(tiny: Checkpoint, tiny_corpus: Path) -> None:
    documents, asked = (
        documents_of(tiny_corpus, tiny.prompts),
        questions_of(tiny_corpus, tiny.prompts),
    )
    assert asked is not None
    assert not set(documents.texts) & set(asked.texts)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def test_a_vocabulary_of_another_tokenizer_is_refused(small: Path, tiny: Checkpoint) -> None:
    from exporter.checkpoint.read import read_checkpoint

    with pytest.raises(BadInput, match="was cut from another tokenizer"):
        with_vocabulary(read_checkpoint(MINIATURE), small)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(kept=[3, 2, 1]), "not ascending ids"),
        (lambda m: m.update(kept=[*m["kept"], 10**6]), "not ascending ids"),
        (lambda m: m.update(kept=[]), "kept"),
        (lambda m: m.update(more=1), "more"),
    ],
)
def test_a_broken_map_is_refused(
    tiny: Checkpoint,
    small: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "v"))
    edited(folder / MAP_NAME, change)
    with pytest.raises(BadInput, match=said):
        with_vocabulary(tiny, folder)


def test_a_vocabulary_that_was_changed_or_is_none_is_refused(
    tiny: Checkpoint, small: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "v"))
    edited(folder / "tokenizer.json", lambda data: data["model"].update(dropout=0.1))
    with pytest.raises(BadInput, match="was changed after it was made"):
        with_vocabulary(tiny, folder)
    with pytest.raises(BadInput, match="no such vocabulary"):
        with_vocabulary(tiny, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="lawvault vocabulary"):
        with_vocabulary(tiny, tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["model"].update(type="Unigram"), "only the pieces of BPE"),
        (lambda data: data["model"].update(byte_fallback=False), "does not fall back to bytes"),
        (lambda data: data["model"].update(ignore_merges=True), "ignore_merges"),
    ],
)
def test_a_tokenizer_that_cannot_be_cut_is_refused_by_name(
    broken: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    edited(broken / "tokenizer.json", change)
    with pytest.raises(BadInput, match=said):
        read_bpe(broken)


def test_an_unknown_class_is_named(tiny: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        make(tiny, tmp_path / "v", classes=("digit",))
    assert not (tmp_path / "v").exists()


def test_a_cut_checkpoint_says_how_many_rows_it_stores(tiny: Checkpoint, small: Path) -> None:
    cut = with_vocabulary(tiny, small)
    assert cut.architecture is not None
    gone = cut.architecture.vocab_size - cut.vocabulary_size
    assert gone > 0
    assert cut.parameters - cut.stored_parameters == gone * cut.architecture.hidden_size
    assert cut.file_hashes() == tiny.file_hashes()  # the original is the same
    assert np.array_equal(read_map(small).kept, cut.vocabulary.kept if cut.vocabulary else [])


def test_the_real_tokenizer_keeps_a_tenth_and_most_questions_whole(tmp_path: Path) -> None:
    checkpoint = real_checkpoint()
    prompts = checkpoint.prompts
    asked = questions_of(BUNDLED_CORPUS, prompts)
    assert asked is not None
    made = make_vocabulary(
        checkpoint,
        tmp_path / "v",
        counted=[documents_of(BUNDLED_CORPUS, prompts)],
        classes=tuple(CLASSES),
        held_out=[asked],
    )
    assert len(made.map.kept) < made.map.pieces / 10
    ((_, share, _),) = made.held_out
    assert share.identical > 0.9 * share.texts
