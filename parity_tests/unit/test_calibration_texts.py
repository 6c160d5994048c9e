import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.calibration import texts as calibration
from exporter.calibration.texts import calibration_sha256, prompted, read_calibration
from exporter.checkpoint.records import Prompts
from exporter.errors import BadInput
from parity_tests.conftest import BUNDLED_CORPUS, REPOSITORY


def test_the_bundled_texts_are_many_different_and_of_spread_lengths() -> None:
    texts = read_calibration(None)
    assert len(texts) == len(set(texts)) == 96
    lengths = sorted(map(len, texts))
    assert lengths[9] < 16
    assert 30 < lengths[48] < 60
    assert lengths[-6] > 120
    assert sum(text.startswith("第") for text in texts) >= 40


def test_the_bundled_texts_share_no_sentence_with_the_bundled_corpus() -> None:
    files = [BUNDLED_CORPUS / name for name in ("corpus.jsonl", "queries.jsonl")]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    found = [json.loads(line)["text"] for line in lines]
    grams = {text[i : i + 10] for text in found for i in range(len(text) - 9)}
    for text in read_calibration(None):
        assert not {text[i : i + 10] for i in range(len(text) - 9)} & grams, text


def test_no_prompt_is_applied_by_reading_and_both_by_prompting() -> None:
    prompts = Prompts(query="q: {text}", document="title: {title} | text: {text}")
    texts = read_calibration(None)
    assert not any(text.startswith("title:") for text in texts)
    rendered = prompted(texts[:2], prompts)
    assert rendered == ["title: none | text: " + texts[0], "q: " + texts[1]]


def test_a_users_own_file_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    lines = [f"第{n}条\u2028 条文" for n in range(20)]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(lines).encode())
    assert read_calibration(file) == lines
    assert calibration_sha256(lines) != calibration_sha256(lines[::-1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty; write at least 16 texts"),
        (b" \n\n\t\n", "is empty"),
        ("第一条\n".encode() + "第二条".encode("gb18030"), "line 2: not valid UTF-8"),
        ("押金\n".encode() * 40, "holds 1 different texts, too few"),
        (b"\n".join(b"%d" % n for n in range(15)), "holds 15 different texts, too few"),
    ],
)
def test_a_calibration_file_that_cannot_serve_is_one_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=expected) as raised:
        read_calibration(file)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_missing_calibration_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such calibration file: .*nowhere\.txt"):
        read_calibration(tmp_path / "nowhere.txt")


def test_without_the_bundled_file_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "REPOSITORY", tmp_path)
    monkeypatch.setattr(calibration.metadata, "files", lambda name: [])
    with pytest.raises(BadInput, match="not installed; pass --calibration FILE"):
        read_calibration(None)


@pytest.mark.slow
def test_an_installed_package_has_the_bundled_texts(tmp_path: Path) -> None:
    source = tmp_path / "source"  # building leaves files behind
    for name in ("exporter", "recipes"):
        shutil.copytree(REPOSITORY / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(REPOSITORY / name, source / name)
    home = tmp_path / "home"
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps",
               "--ignore-installed", "--prefix", str(home), str(source)]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True)
    site = next(home.rglob("exporter/__init__.py")).parents[1]
    code = "from exporter.calibration.texts import read_calibration as r; print(len(r(None)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
    )  # fmt: skip
    assert ran.stdout == "96\n", ran.stderr
