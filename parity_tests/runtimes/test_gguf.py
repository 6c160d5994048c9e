import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gguf")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.options import GgufOptions
from exporter.formats.open import open_artifact
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.archives import extract
from parity_tests.conftest import REPOSITORY, TEXTS
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.unit.test_read_checkpoint import edit

PINNED = "llama-cpp-python==0.3.36"
# Least cosine to torch fp32 over TEXTS. Measured on the tiny checkpoint: 0.99999994, 0.9999994,
# 0.99998, 0.99954. Random weights are a hard case for 8 bits.
LEAST = {"f32": 0.999999, "f16": 0.99999, "bf16": 0.9999, "q8_0": 0.999}


@pytest.fixture(scope="session")
def upstream() -> Path:
    """The folder of llama.cpp inside the pinned source archive of llama-cpp-python."""
    cache = Path(os.environ.get("LAWVAULT_UPSTREAM", REPOSITORY / ".venv" / "upstream"))
    found = sorted(cache.glob("*/vendor/llama.cpp"))
    if not found:
        cache.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            str(cache),
            PINNED,
        ]
        ran = subprocess.run(command, capture_output=True, text=True)
        archives = sorted(cache.glob("*.tar.gz"))
        if ran.returncode or not archives:
            reason = f"the source archive of {PINNED} cannot be had: {ran.stderr[-300:]}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        with tarfile.open(archives[0]) as archive:
            wanted = ("convert_hf_to_gguf.py", "/conversion/", "/gguf-py/")
            members = [
                m
                for m in archive.getmembers()
                if "/vendor/llama.cpp/" in m.name and any(w in m.name for w in wanted)
            ]
            extract(archive, cache, members)
        found = sorted(cache.glob("*/vendor/llama.cpp"))
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("type_name", ["f32", "f16", "bf16", "q8_0"])
def test_the_file_is_byte_identical_with_upstreams(
    upstream: Path, tiny: Checkpoint, tmp_path: Path, type_name: str
) -> None:
    expected = tmp_path / "upstream.gguf"
    script = str(upstream / "convert_hf_to_gguf.py")
    command = [
        sys.executable,
        script,
        str(tiny.path),
        "--outtype",
        type_name,
        "--outfile",
        str(expected),
        "--sentence-transformers-dense-modules",
    ]
    environment = {**os.environ, "PYTHONPATH": str(upstream / "gguf-py")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]
    manifest = export_gguf(
        tiny, tmp_path / "ours", scheme=type_name, **vars(GgufOptions(plan="upstream"))
    )
    assert (tmp_path / "ours" / manifest.entry).read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("type_name", ["f32", "f16", "bf16", "q8_0"])
def test_llama_cpp_gives_the_vectors_and_ids_of_torch(
    tiny: Checkpoint, tmp_path: Path, type_name: str
) -> None:
    pytest.importorskip("llama_cpp")
    reference = TorchReference(tiny, dtype="float32")
    export_gguf(tiny, tmp_path / "g", scheme=type_name)
    encoder = open_artifact(tmp_path / "g")
    texts = [*TEXTS, "长" * 300, "用户写的<eos>记号"]
    assert encoder.token_ids(texts) == reference.token_ids(texts)
    vectors = encoder.encode(texts)
    cosines = (vectors * reference.encode(texts)).sum(axis=1)
    assert cosines.min() > LEAST[type_name]
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], vectors)
    encoder.close()


def test_rows_that_no_block_divides_are_kept_in_f16_and_said_so(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    manifest = export_gguf(tiny, tmp_path / "g")
    assert any("rows of 48 do not divide by 32" in line for line in manifest.kept)
    stored = {t.name: t.dtype for t in manifest.tensors}
    assert stored["blk.0.attn_output.weight"] == "F16"
    assert stored["blk.0.attn_q.weight"] == "Q8_0"


def test_a_weight_beyond_fp16_is_refused(broken: Path, tmp_path: Path) -> None:
    from parity_tests.unit.test_read_checkpoint import with_weights

    with_weights(broken, lambda t: t["embed_tokens.weight"].__setitem__((7, 7), 1e6))
    with pytest.raises(BadInput, match="fp16 cannot hold"):
        export_gguf(read_checkpoint(broken), tmp_path / "g", scheme="f16")
    assert not (tmp_path / "g").exists()


def rename_dense(folder: Path) -> None:
    (folder / "3_Dense").rename(folder / "4_Dense")
    path = folder / "modules.json"
    path.write_text(path.read_text().replace("3_Dense", "4_Dense"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: edit(f / "config.json", query_pre_attn_scalar=24), "query_pre_attn_scalar"),
        (
            lambda f: edit(f / "config.json", layer_types=["full_attention"] * 6),
            "layer 0 is full_attention",
        ),
        (rename_dense, "exactly 2_Dense followed by 3_Dense"),
    ],
)
def test_what_the_format_cannot_say_is_refused(
    broken: Path, tmp_path: Path, damage: object, expected: str
) -> None:
    damage(broken)  # type: ignore[operator]
    with pytest.raises(BadInput, match=expected):
        export_gguf(read_checkpoint(broken), tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_a_last_dense_of_another_width_is_refused(tmp_path: Path) -> None:
    import json

    from parity_tests.layout import save_tensors

    folder = make_tiny_checkpoint(tmp_path / "tiny", matryoshka_dims=())
    path = folder / "3_Dense/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "out_features": 32}))
    weight = np.ones((32, 128), np.float32)
    save_tensors(folder / "3_Dense/model.safetensors", {"linear.weight": weight})
    with pytest.raises(BadInput, match="gives 32 dimensions"):
        export_gguf(read_checkpoint(folder), tmp_path / "g")


def test_a_damaged_artifact_is_refused_before_llama_cpp_sees_it(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    manifest = export_gguf(tiny, tmp_path / "g")
    path = tmp_path / "g" / manifest.entry
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(BadInput, match=manifest.entry):
        open_artifact(tmp_path / "g")


def test_the_same_input_gives_the_same_bytes(tiny: Checkpoint, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_gguf(tiny, tmp_path / name)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    shutil.rmtree(tmp_path / "a")
