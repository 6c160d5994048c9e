"""LiteRT: made by its converter in an environment of its own, run by its interpreter in this."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("torch")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput, MissingDependency
from exporter.formats.litert.export import export_litert
from exporter.formats.litert.runtime import LiteRtEncoder
from exporter.formats.open import open_artifact
from exporter.manifest import Manifest, read_manifest
from exporter.packages.assemble import Judged
from exporter.packages.verify import verify_package
from exporter.runtimes.encoder import Encoder, PaddedEncoder
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS
from parity_tests.packaging import PASS, evidence_of, package_onnx, seal
from parity_tests.runtimes.test_onnx_built import variant
from parity_tests.second import run_second
from parity_tests.tiny_bert import make_tiny_bert

VARIANTS: dict[str, dict[str, Any]] = {
    "two heads for keys of four": {"kv_heads": 2, "heads": 4},
    "as many heads for keys": {"kv_heads": 2, "heads": 2},
    "no Dense": {"dense": 0},
    "not normalized": {"normalize": False},
}


def convert(checkpoint: Path, output: Path, *more: object) -> Manifest:
    """Run `lawvault export litert` where its converter is."""
    named = ["--checkpoint", checkpoint, "--output", output, "--quiet", *more]
    ran = run_second("exporter", "export", "litert", *named)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr.strip(), "its libraries' logs are not the user's"
    return read_manifest(output)


def worst(encoder: Encoder, reference: Encoder, texts: tuple[str, ...] = TEXTS) -> float:
    """Return the largest 1 - cosine."""
    made = encoder.encode(texts).astype(np.float64)
    return float((1 - (made * reference.encode(texts)).sum(axis=1)).max())


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="module")
def int8(few_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("litert") / "int8"
    prompts = "query={text},document=title: {title} | text: {text}"
    more = ("--quant", "int8", "--calibration", few_texts, "--prompts", prompts)
    convert(MINIATURE, folder, *more)
    return folder


@pytest.fixture(scope="module")
def package(int8: Path, miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    judged = Judged(int8, PASS, *evidence_of(LiteRtEncoder(int8, threads=1), miniature))
    output = tmp_path_factory.mktemp("package") / "p"
    return package_onnx("android", [judged], output, checkpoint=miniature)


def test_float32_is_the_model_in_torch(tiny_path: Path, tiny: Checkpoint, tmp_path: Path) -> None:
    """Three query heads share one key head, as in EmbeddingGemma: the converter's own repetition of
    keys gives wrong scores there."""
    manifest = convert(tiny_path, tmp_path / "o", "--lengths", f"16,{tiny.max_tokens}")
    encoder = open_artifact(tmp_path / "o")
    assert isinstance(encoder, PaddedEncoder)
    assert worst(encoder, TorchReference(tiny, dtype="float32")) < 1e-6
    assert manifest.name == "litert-fp32"
    assert manifest.options["lengths"] == f"16,{tiny.max_tokens}"
    weights = sum(int(np.prod(t.shape)) * 4 for t in manifest.tensors)
    assert weights < manifest.size_bytes < weights + 2_000_000, "stored once for both signatures"
    rows = encoder.token_ids(["押金", "第三条 押金应当退还。"])
    together = encoder.encode_padded(rows, width=max(map(len, rows)))
    alone = encoder.encode_padded(rows[:1], width=len(rows[0]))
    assert float(1 - together[0].astype(np.float64) @ alone[0]) < 1e-6
    texts = ("", "押金" * 500)
    assert worst(encoder, TorchReference(tiny, dtype="float32"), texts) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_shape_of_attention_is_the_model_in_torch(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    checkpoint = variant(tmp_path / "c", **changes)
    convert(checkpoint.path, tmp_path / "o")
    reference = TorchReference(checkpoint, dtype="float32")
    assert worst(LiteRtEncoder(tmp_path / "o"), reference) < 1e-6


def test_int8_is_near_and_stores_what_it_says(int8: Path, miniature: Checkpoint) -> None:
    encoder = LiteRtEncoder(int8)
    assert worst(encoder, TorchReference(miniature, dtype="float32")) < 2e-4
    manifest = read_manifest(int8)
    eight = [t for t in manifest.tensors if t.dtype == "int8"]
    assert len(eight) == 7 * 6 + 1
    stored = [d for d in encoder._model.get_tensor_details() if d["dtype"] is np.int8]
    assert sorted(tuple(d["shape"]) for d in stored) == sorted(t.shape for t in eight)
    assert manifest.calibration_sha256 is not None
    assert any("the head" in line for line in manifest.kept)


def test_a_matryoshka_dim_is_cut_inside_the_graph(
    tiny_path: Path, tiny: Checkpoint, tmp_path: Path
) -> None:
    dim = tiny.matryoshka_dims[-1]
    convert(tiny_path, tmp_path / "o", "--dim", dim)
    made = LiteRtEncoder(tmp_path / "o").encode(TEXTS)
    expected = TorchReference(tiny, dtype="float32").encode(TEXTS, dim=dim)
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheme": "int7"}, "--quant 'int7'"),
        ({"dim": 17}, "not one that the model was trained for"),
        ({"lengths": "16,all"}, "'16,all' is no list of numbers"),
        ({"lengths": "16,4096"}, "not within 1 and 64, the model's limit"),
        ({"lengths": "16,32"}, "ends below 64, the model's limit"),
        ({"calibration": Path("x.txt")}, "leave --calibration out"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(
    tiny: Checkpoint,
    tmp_path: Path,
    options: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.formats.litert.export.require", lambda *_: None)
    with pytest.raises(BadInput, match=said):
        export_litert(tiny, tmp_path / "o", **options)
    assert not any(tmp_path.iterdir())


def test_without_the_converter_the_install_line_is_given(tiny: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"lawvault-exporter\[litert-export\]"):
        export_litert(tiny, tmp_path / "o")


@pytest.mark.parametrize("name", ["coreml", "mlx"])
def test_what_cannot_be_proven_is_refused_by_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", name])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"there is no artifact format '{name}'" in said
    assert "could be proven" in said


def test_a_damaged_file_is_an_error_of_one_line(int8: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(int8, tmp_path / "copy"))
    (copy / "model.tflite").write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"LiteRT cannot load '.*export it again$"):
        LiteRtEncoder(copy)


def test_a_package_is_proven_and_its_example_needs_no_torch(package: Path, int8: Path) -> None:
    report = verify_package(package)
    assert report.verdict == "pass", report.checks
    assert [check.name for check in report.checks] == ["files", "golden", "cost"]
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "import json, example; print(json.dumps(example.embed([sys.argv[1]]).tolist()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, TEXTS[0]],
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    made = np.asarray(json.loads(ran.stdout.splitlines()[-1]))
    assert float((made * LiteRtEncoder(int8).encode([TEXTS[0]])).sum()) > 0.99999
    said = (package / "README.md").read_text("utf-8")
    assert "not on a phone" in said
    assert len(said.splitlines()) < 60


def test_a_package_of_another_model_fails(package: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "other"))
    data = bytearray((copy / "model.tflite").read_bytes())
    half = len(data) // 2
    data[half : half + 400_000] = bytes(400_000)
    (copy / "model.tflite").write_bytes(data)
    seal(copy)
    checks = {check.name: check.status for check in verify_package(copy).checks}
    assert checks["golden"] == "fail"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "quant", "most"),
    [("mean", "fp32", 1e-6), ("cls", "fp32", 1e-6), ("cls", "int8", 1e-2)],
)
def test_a_bert_gives_torchs_vectors(tmp_path: Path, pooling: str, quant: str, most: float) -> None:
    folder = make_tiny_bert(tmp_path / "bert", pooling=pooling)
    calibration = tmp_path / "texts.txt"
    calibration.write_text(
        "\n".join(f"{text} {i}" for i in range(8) for text in TEXTS[:4]), "utf-8"
    )
    more = ("--calibration", calibration) if quant == "int8" else ()
    convert(folder, tmp_path / "a", "--quant", quant, "--lengths", "48", *more)
    truth = TorchReference(read_checkpoint(folder), dtype="float32", device="cpu").encode(TEXTS)
    off = 1 - (open_artifact(tmp_path / "a").encode(TEXTS).astype(np.float64) * truth).sum(axis=1)
    assert np.median(off) < most
