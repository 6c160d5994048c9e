"""The GGUF writer gives the same bytes as llama.cpp's own converter.

The converter is not on PyPI as a program; it lies in the source archive of llama-cpp-python, which
is fetched once with pip (77 MB) and kept. LAWVAULT_UPSTREAM may name the archive, or the folder
that holds convert_hf_to_gguf.py.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.safetensors_file import read_header, read_tensor
from parity_tests.archives import extract
from parity_tests.conftest import REPOSITORY
from parity_tests.layout import save_tensors
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

gguf = pytest.importorskip("gguf")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.gguf.options import GgufOptions  # noqa: E402

ARCHIVE = "llama_cpp_python-0.3.36"
ARCHIVE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
WANTED = tuple(
    f"{ARCHIVE}/vendor/llama.cpp/{part}"
    for part in ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/")
)
# One process for all types: importing torch and transformers takes longer than converting.
DRIVER = """
import os, runpy, sys
script, folder, out, pre, *types = sys.argv[1:]
import torch, transformers
for kind in types:
    child = os.fork()
    if child == 0:
        sys.path.insert(0, os.path.dirname(script))
        if pre:  # else it asks what the tokenizer makes of one text, which no tiny one gets right
            from conversion.base import TextModel
            TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
        sys.argv = [script, "--sentence-transformers-dense-modules", "--outtype", kind,
                    "--outfile", os.path.join(out, kind + ".gguf"), folder]
        runpy.run_path(script, run_name="__main__")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs llama.cpp's converter: {reason}")
    pytest.skip(f"llama.cpp's converter is not to be had: {reason}")


def _fetch(cache: Path) -> Path:
    archive = cache / f"{ARCHIVE}.tar.gz"
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "llama-cpp-python==0.3.36",
            "--no-binary",
            "llama-cpp-python",
            "--no-deps",
            "--quiet",
            "--disable-pip-version-check",
            "-d",
            str(cache),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            _unavailable("pip download took more than five minutes")
        if done.returncode or not archive.is_file():
            _unavailable((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    return archive


def _extract(archive: Path, target: Path) -> None:
    if hashlib.sha256(archive.read_bytes()).hexdigest() != ARCHIVE_SHA256:
        _unavailable(f"'{archive}' is not the pinned archive; delete it")
    with tarfile.open(archive) as packed:
        members = [m for m in packed.getmembers() if m.name.startswith(WANTED)]
        extract(packed, target, members)


@pytest.fixture(scope="session")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script convert_hf_to_gguf.py, with its packages beside it."""
    named = Path(os.environ.get("LAWVAULT_UPSTREAM") or _fetch(REPOSITORY / ".venv" / "upstream"))
    if named.is_dir():
        script = next(named.rglob("convert_hf_to_gguf.py"), None)
        return script or _unavailable(f"'{named}' does not hold it")
    if not named.is_file():
        _unavailable(f"no such file: '{named}'")
    target = tmp_path_factory.mktemp("upstream")
    _extract(named, target)
    return target / WANTED[0]


def convert(script: Path, checkpoint: Path, out: Path, *types: str, pre: str = "") -> None:
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(script), str(checkpoint), str(out), pre, *types],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def awkward_checkpoint(folder: Path) -> Path:
    """Two fp32 shards, rows that 32 does not divide, more table rows than pieces, a full model
    card, pooling spelled as sentence-transformers 6 does, a config that forgets EOS."""
    make_tiny_checkpoint(folder, hidden=72, head_dim=18, intermediate=80, wide=100, layers=7)
    tensors = {n: read_tensor(i) for n, i in read_header(folder / "model.safetensors").items()}
    table = tensors["embed_tokens.weight"]
    tensors["embed_tokens.weight"] = np.concatenate([table, table[:8]])
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for shard, held in shards.items():
        save_tensors(folder / shard, {n: tensors[n] for n in held}, dtype="float32")
    index = {"metadata": {}, "weight_map": {n: s for s, held in shards.items() for n in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _edit(folder / "config.json", vocab_size=len(table) + 8, dtype="float32")
    _edit(folder / "tokenizer_config.json", add_eos_token=False)
    (folder / "1_Pooling" / "config.json").write_text(
        '{"embedding_dimension": 72, "pooling_mode": "mean", "include_prompt": true}'
    )
    (folder / "README.md").write_text(
        "---\nlicense: gemma\nlanguage:\n- zh\ntags:\n- sentence-similarity\nbase_model: "
        "google/embeddinggemma-300m\n---\n# Card\n",
        encoding="utf-8",
    )
    return folder


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def assert_identical(ours: Path, theirs: Path) -> None:
    if ours.read_bytes() == theirs.read_bytes():
        return
    a, b = (gguf.GGUFReader(path) for path in (ours, theirs))
    assert list(a.fields) == list(b.fields)
    for key, field in a.fields.items():
        assert field.contents() == b.fields[key].contents(), key
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    for x, y in zip(a.tensors, b.tensors, strict=True):
        assert x.tensor_type == y.tensor_type, x.name
        assert np.array_equal(x.data.view(np.uint8), y.data.view(np.uint8)), x.name
    pytest.fail("the files differ outside of keys and tensors (order of types, padding)")


def test_every_type_has_the_bytes_of_the_converter(tmp_path: Path, converter: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "Tiny-300M-Law")
    types = ("f32", "f16", "bf16", "q8_0")
    convert(converter, folder, tmp_path / "theirs", *types)
    checkpoint = read_checkpoint(folder)
    for kind in types:
        manifest = export_gguf(
            checkpoint, tmp_path / kind, scheme=kind, **vars(GgufOptions(plan="upstream"))
        )
        assert_identical(tmp_path / kind / manifest.entry, tmp_path / "theirs" / f"{kind}.gguf")


def test_an_awkward_checkpoint_has_the_bytes_of_the_converter(
    tmp_path: Path, converter: Path
) -> None:
    folder = awkward_checkpoint(tmp_path / "awkward")
    convert(converter, folder, tmp_path / "theirs", "bf16", "q8_0")
    checkpoint = read_checkpoint(folder)
    for kind in ("bf16", "q8_0"):
        manifest = export_gguf(
            checkpoint, tmp_path / kind, scheme=kind, **vars(GgufOptions(plan="upstream"))
        )
        assert_identical(tmp_path / kind / manifest.entry, tmp_path / "theirs" / f"{kind}.gguf")


def test_identity_would_notice_one_changed_byte(tmp_path: Path) -> None:
    manifest = export_gguf(read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny")), tmp_path / "a")
    path = tmp_path / "a" / manifest.entry
    shutil.copyfile(path, tmp_path / "b.gguf")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AssertionError):
        assert_identical(path, tmp_path / "b.gguf")
