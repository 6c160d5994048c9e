"""Checkpoints and corpora that many tests share."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus import calibration
from exporter.corpus.calibration import BUNDLED_NAME
from parity_tests.tiny_checkpoint import SENTENCES, make_tiny_checkpoint

# What the terminal says is tested in English, wherever the tests run.
os.environ["LC_ALL"] = "C.UTF-8"

REPOSITORY = Path(__file__).resolve().parents[1]
MINIATURE = REPOSITORY / "parity_tests" / "fixtures" / "lawvault-mini"
# Those that the miniature was trained on, as recipes/lawvault.toml has them.
LAWVAULT_PROMPTS = Prompts(query="{text}", document="title: {title} | text: {text}")
BUNDLED_CORPUS = REPOSITORY / "recipes" / "corpora" / "lawvault-mini"

# Shorter and longer than the tiny window (reach 8) and its 64 tokens, and the odd ones.
TEXTS = (
    "短",
    "房东不退押金怎么办？",
    "第二条 用人单位不得扣押劳动者的居民身份证和其他证件。",
    "第一条 出租人应当按照约定将租赁物交付承租人，并在租赁期限内保持租赁物符合约定的用途。" * 3,
    "two  spaces\n\nand a blank line",
    "全角　Ａ１　😀 𠮷",
    "",
)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Checkpoint:
    return read_checkpoint(tiny_path)


@pytest.fixture(scope="session")
def few_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration file of 64 short bundled texts: enough for what is not measured."""
    lines = (REPOSITORY / BUNDLED_NAME).read_text("utf-8").splitlines()
    short = [line for line in lines if len(line) < 300][:64]
    file = tmp_path_factory.mktemp("calibration") / "few.jsonl"
    file.write_text("".join(line + "\n" for line in short), "utf-8")
    return file


@pytest.fixture(scope="session", autouse=True)
def calibrated_on_few(few_texts: Path) -> Iterator[None]:
    """Exports in this process that name no texts take few: all of them take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "bundled", lambda _: few_texts)
        yield


@pytest.fixture
def broken(tiny_path: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, for a test to break."""
    return Path(shutil.copytree(tiny_path, tmp_path / "broken"))


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-one short documents and seven questions about them."""
    folder = tmp_path_factory.mktemp("corpus") / "tiny-corpus"
    return write_corpus(
        folder,
        documents=[
            (f"d{i:02d}", f"示例条例 第{i}条", f"第{i}条 {SENTENCES[i % 7][: 12 + i]}")
            for i in range(21)
        ],
        queries=[(f"q{i}", SENTENCES[i][4:16]) for i in range(7)],
        qrels=[(f"q{i}", f"d{i:02d}", "1") for i in range(7)],
    )


def write_corpus(
    folder: Path,
    *,
    documents: list[tuple[str, str, str]],
    queries: list[tuple[str, str]],
    qrels: list[tuple[str, str, str]],
) -> Path:
    """Write a BEIR folder, right or wrong."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": i, "title": title, "text": text} for i, title, text in documents]
    asked = [{"_id": i, "text": text} for i, text in queries]
    for name, lines in (("corpus", rows), ("queries", asked)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    table = "query-id\tcorpus-id\tscore\n" + "".join("\t".join(r) + "\n" for r in qrels)
    (folder / "qrels" / "test.tsv").write_text(table, encoding="utf-8")
    return folder
