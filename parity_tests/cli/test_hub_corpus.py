"""A corpus of the hub by its id: fetched once, unpacked, read as a folder."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.corpus.beir import read_corpus
from parity_tests.conftest import REPOSITORY
from parity_tests.hub import running_hub
from parity_tests.tiny_corpus import make_tiny_corpus

LOCATE = """
import sys
from pathlib import Path
from exporter.corpus.hub import locate_corpus
print(locate_corpus(Path(sys.argv[1])))
"""


def lawvault(
    *arguments: object, url: str, home: Path, code: str | None = None
) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "exporter"]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HF_ENDPOINT": url,
            "HF_HOME": str(home / "hf"),
        },
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_tiny_corpus(tmp_path / "tiny", documents=20, questions=8)


def test_a_beir_data_set_is_fetched_with_its_answers_and_kept(corpus: Path, tmp_path: Path) -> None:
    documents = (corpus / "corpus.jsonl").read_bytes()
    with running_hub() as hub:
        hub.datasets = {
            "BeIR/tiny": {
                "corpus.jsonl.gz": gzip.compress(documents),
                "queries.jsonl.gz": gzip.compress((corpus / "queries.jsonl").read_bytes()),
                "README.md": b"x",
            },
            "BeIR/tiny-qrels": {"test.tsv": (corpus / "qrels" / "test.tsv").read_bytes()},
        }
        ran = lawvault("BeIR/tiny", url=hub.url, home=tmp_path, code=LOCATE)
        assert ran.returncode == 0, ran.stderr
        folder = Path(ran.stdout.strip())
        assert read_corpus(folder) == read_corpus(corpus)
        assert not (folder / "README.md").exists()
        again = lawvault("BeIR/tiny", url=hub.url, home=tmp_path, code=LOCATE)
        assert again.stdout == ran.stdout
        hub.datasets["own/law"] = {
            "corpus.jsonl": documents,
            "queries.jsonl": (corpus / "queries.jsonl").read_bytes(),
            "qrels/test.tsv": (corpus / "qrels" / "test.tsv").read_bytes(),
        }
        own = lawvault("own/law", url=hub.url, home=tmp_path, code=LOCATE)
        assert read_corpus(Path(own.stdout.strip())).doc_ids == read_corpus(corpus).doc_ids


def test_a_name_that_is_neither_folder_nor_data_set_is_said(tmp_path: Path) -> None:
    with running_hub() as hub:
        hub.datasets = {"own/pictures": {"a.png": b"x"}, "own/broken": {"corpus.jsonl.gz": b"x"}}
        for name, said in (
            ("own/none", "'own/none' is no folder here, and the hub did not give it as a data set"),
            ("own/pictures", "'own/pictures' of the hub holds no corpus.jsonl"),
            ("own/broken", "is no gzip file"),
        ):
            ran = lawvault("parity", "nowhere", "--corpus", name, url=hub.url, home=tmp_path)
            assert ran.returncode == 2, ran.stderr
            assert said in ran.stderr.splitlines()[-1]
    assert lawvault("tiny", url="http://127.0.0.1:9", home=tmp_path, code=LOCATE).stdout == "tiny\n"


@pytest.mark.slow
def test_an_index_of_a_data_set_needs_no_answers(
    corpus: Path, tiny_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    pytest.importorskip("onnx")
    with running_hub() as hub:
        hub.datasets = {"own/law": {"corpus.jsonl": (corpus / "corpus.jsonl").read_bytes()}}
        made = lawvault(
            "export", "onnx", "--checkpoint", tiny_path, "--output", "a", url=hub.url, home=tmp_path
        )
        assert made.returncode == 0, made.stderr
        ran = lawvault(
            "index", "a", "--corpus", "own/law", "--output", "db", url=hub.url, home=tmp_path
        )
        assert ran.returncode == 0, ran.stderr
        assert "20 rows of 64 components" in ran.stdout
