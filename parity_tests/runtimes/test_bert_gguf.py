"""BERT in llama.cpp: the converter's bytes, tokenizer.json's ids, torch's vectors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.lint import lint_gguf
from exporter.formats.open import open_artifact
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.real import minilm_checkpoint
from parity_tests.runtimes.test_bert import ODD
from parity_tests.runtimes.test_gguf_identity import (
    assert_identical,
    converter,  # noqa: F401
)
from parity_tests.tiny_bert import make_tiny_bert

# It knows tokenizers by a hash of what they make of one text, and refuses all others.
DRIVER = """
import os, runpy, sys
script, name, *rest = sys.argv[1:]
sys.path.insert(0, os.path.dirname(script))
if name:
    from conversion.base import TextModel
    TextModel.get_vocab_base_pre = lambda self, tokenizer: name
sys.argv = [script, *rest]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module", params=["mean", "cls"])
def bert(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("gguf") / "Tiny-BERT"
    return read_checkpoint(make_tiny_bert(folder, pooling=request.param))


def convert(script: Path, checkpoint: Path, out: Path, kind: str, *, pre: str) -> Path:
    done = subprocess.run(
        [
            *(sys.executable, "-c", DRIVER, str(script), pre),
            *("--outtype", kind, "--outfile", str(out), str(checkpoint)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_its_file_has_the_bytes_of_the_converter(
    bert: Checkpoint,
    tmp_path: Path,
    converter: Path,  # noqa: F811
) -> None:
    for kind in ("f32", "q8_0"):
        theirs = convert(converter, bert.path, tmp_path / f"{kind}.gguf", kind, pre="jina-v2-en")
        manifest = export_gguf(bert, tmp_path / kind, scheme=kind, plan="upstream")
        assert_identical(tmp_path / kind / manifest.entry, theirs)


@pytest.mark.slow
def test_minilm_has_the_bytes_of_the_converter(
    tmp_path: Path,
    converter: Path,  # noqa: F811
) -> None:
    minilm = minilm_checkpoint()
    theirs = convert(converter, minilm.path, tmp_path / "q8_0.gguf", "q8_0", pre="")
    manifest = export_gguf(minilm, tmp_path / "ours", scheme="q8_0", plan="upstream")
    assert_identical(tmp_path / "ours" / manifest.entry, theirs)


def test_llama_cpp_reads_the_ids_and_gives_the_vectors(bert: Checkpoint, tmp_path: Path) -> None:
    reference = TorchReference(bert, dtype="float32", device="cpu")
    truth = reference.encode(ODD)
    # GELU is the approximate one there: 4e-4 was measured in float32.
    for scheme, imatrix, most in (("f32", "off", 1e-3), ("q8_0", "on", 5e-3)):
        export_gguf(bert, tmp_path / scheme, scheme=scheme, imatrix=imatrix)
        encoder = open_artifact(tmp_path / scheme)
        for text in (*HARD_TEXTS, *ODD):
            assert encoder.token_ids([text]) == reference.token_ids([text]), text
        off = 1 - (encoder.encode(ODD).astype(np.float64) * truth).sum(axis=1)
        assert np.median(off) < most


def test_lint_finds_nothing_wrong_and_sees_what_is_missing(
    bert: Checkpoint, tmp_path: Path
) -> None:
    manifest = export_gguf(bert, tmp_path / "a", scheme="q8_0")
    path = tmp_path / "a" / manifest.entry
    assert {f.severity for f in lint_gguf(path)[1]} == {"info"}
    data = path.read_bytes()
    assert data.count(b"token_embd_norm.weight") == 1
    path.write_bytes(data.replace(b"token_embd_norm.weight", b"token_embd_morn.weight"))
    assert "missing-tensors" in {f.id for f in lint_gguf(path)[1]}


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("normalizer", {"lowercase": False}, "lowercase is not true"),
        ("normalizer", {"strip_accents": False}, "keeps accents"),
        ("normalizer", {"type": "NFC"}, "has the normalizer NFC"),
        ("model", {"continuing_subword_prefix": "@@"}, "WordPiece with ##"),
        ("post_processor", None, r"than \[CLS\] and \[SEP\]"),
    ],
)
def test_another_tokenizer_is_refused_by_name(
    bert: Checkpoint, tmp_path: Path, part: str, change: dict[str, Any] | None, said: str
) -> None:
    folder = Path(shutil.copytree(bert.path, tmp_path / "a"))
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    data[part] = None if change is None else {**data[part], **change}
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(BadInput, match=said):
        export_gguf(read_checkpoint(folder), tmp_path / "b")
    assert not (tmp_path / "b").exists()
