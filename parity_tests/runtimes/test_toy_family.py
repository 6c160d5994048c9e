"""A model family is one folder and one line: torch, ONNX, OpenVINO and int8 lower its steps."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from safetensors.numpy import save_file  # noqa: E402

from exporter import registry  # noqa: E402
from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.errors import BadInput  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.quantization.forward import run_backbone  # noqa: E402
from exporter.quantization.inputs import token_rows  # noqa: E402
from parity_tests.tiny_checkpoint import make_tiny_checkpoint  # noqa: E402
from parity_tests.toy.family import FAMILY  # noqa: E402

TEXTS = [
    "房东不退押金怎么办？",
    "押金",
    "第二条 用人单位不得扣押劳动者的居民身份证和其他证件。" * 2,
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    folder = make_tiny_checkpoint(tmp_path_factory.mktemp("toy") / "toy", heads=4, head_dim=16)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"model_type": "toy", "num_key_value_heads": 2, "num_hidden_layers": 3}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    registry.FAMILIES["toy"] = "parity_tests.toy.family:FAMILY"  # type: ignore[index]
    rng = np.random.default_rng(1)
    shapes = FAMILY.shapes(FAMILY.read(config, path=folder / "config.json"))
    weights = {}
    for name, shape in shapes.items():
        drawn = rng.normal(size=shape).astype(np.float32)
        weights[name] = drawn / math.sqrt(shape[-1]) if len(shape) > 1 else 1 + 0.1 * drawn
    save_file(weights, folder / "model.safetensors")
    yield read_checkpoint(folder)
    del registry.FAMILIES["toy"]  # type: ignore[attr-defined]


def expected(toy: Checkpoint) -> Any:
    """Return the vectors, (n, dim), by the model's definition, one text at a time."""
    a: Any = toy.architecture

    def weight(name: str) -> Any:
        return torch.from_numpy(toy.tensor(name + ".weight"))

    def norm(x: Any, name: str) -> Any:
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight(name)

    made = []
    for ids in token_rows(toy, TEXTS):
        x = weight("embed_tokens")[ids]
        angles = torch.arange(len(ids))[:, None] / 5000.0 ** (
            torch.arange(0, a.head_dim, 2) / a.head_dim
        )
        turns = torch.polar(torch.ones_like(angles), angles)

        def by_head(values: Any, *, rotated: bool, turns: Any = turns) -> Any:
            split = values.view(len(values), -1, a.head_dim)
            if rotated:
                first, second = split.chunk(2, dim=-1)
                turned = torch.complex(first, second) * turns[:, None]
                split = torch.cat([turned.real, turned.imag], dim=-1)
            return split.transpose(0, 1)

        for i in range(a.num_layers):
            at = f"layers.{i}."
            h = norm(x, at + "before")
            q, k = (by_head(h @ weight(at + n).T, rotated=True) for n in "qk")
            v = by_head(h @ weight(at + "v").T, rotated=False)
            k, v = (t.repeat_interleave(a.heads // a.kv_heads, dim=0) for t in (k, v))
            shares = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(a.head_dim), dim=-1)
            x = x + (shares @ v).transpose(0, 1).flatten(1) @ weight(at + "o").T
            h = norm(x, at + "between")
            gate = torch.nn.functional.gelu(h @ weight(at + "gate").T, approximate="tanh")
            x = x + (gate * (h @ weight(at + "up").T)) @ weight(at + "down").T
        made.append(norm(x, "last").mean(0))
    return torch.stack(made).numpy()


def vectors(toy: Checkpoint, pooled: Any) -> Any:
    for dense in toy.dense:
        pooled = pooled @ toy.tensor(dense.tensor).T
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def test_its_steps_in_torch_are_the_model(toy: Checkpoint) -> None:
    np.testing.assert_allclose(run_backbone(toy, TEXTS), expected(toy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flavour", ["portable", "web", "cpu23"])
def test_its_graph_is_the_model(toy: Checkpoint, tmp_path: Path, flavour: str) -> None:
    export_onnx(toy, tmp_path / "a", flavour=flavour)
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    np.testing.assert_allclose(found, vectors(toy, expected(toy)), rtol=0, atol=1e-5)


def test_its_openvino_model_is_the_model(toy: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    export_openvino(toy, tmp_path / "a")
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    np.testing.assert_allclose(found, vectors(toy, expected(toy)), rtol=0, atol=1e-5)


def test_it_is_calibrated_by_its_sites(toy: Checkpoint, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"{text}{i}" for text in TEXTS for i in range(8)), encoding="utf-8")
    manifest = export_onnx(toy, tmp_path / "a", scheme="int8", calibration=texts)
    stored = {t.name: t.dtype for t in manifest.tensors}
    assert stored["layers.2.down"] == "int8"
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    cosines = (found * vectors(toy, expected(toy))).sum(axis=1)
    assert 0.999 < cosines.min() < 1 - 1e-7  # rounded, and hardly felt


def test_what_it_does_not_offer_is_refused_by_name(toy: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"of a model of type 'toy': it is a toy"):
        export_gguf(toy, tmp_path / "g")
    with pytest.raises(BadInput, match="no float16 for models of type 'toy'"):
        export_onnx(toy, tmp_path / "h", scheme="fp16")
    assert not list(tmp_path.iterdir())
