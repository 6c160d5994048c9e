"""What each part of the int8 and q4 schemes is worth, on the miniature and its hardened twin.

python -m benchmarks.schemes [--checkpoint FOLDER]
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint
from exporter.corpus.beir import read_corpus
from exporter.onnx import scheme_int8
from exporter.onnx.export import export_onnx
from exporter.quantization import activations, gptq
from exporter.quantization.weights import ModelWeights
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.onnxruntime import OnnxEncoder
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE
from parity_tests.miniature.harden import harden


def quantize_rows(values: Any) -> tuple[Any, Any]:
    """Round each row to 8 bits with its own scale, neighbours or not."""
    scales = np.maximum(np.abs(values).max(axis=1) / 127, 1e-12).astype(np.float32)
    return np.rint(values / scales[:, None]).astype(np.int8), scales


def seven_bits(values: Any) -> tuple[Any, Any]:
    """Round each row to 7 bits: the usual way to be safe without VNNI."""
    scales = np.maximum(np.abs(values).max(axis=1) / 63, 1e-12).astype(np.float32)
    return np.rint(values / scales[:, None]).astype(np.int8), scales


def nearest(weight: Any, hessian: Any) -> gptq.Quantized:
    """Round blocks with searched scales, without compensation."""
    del hessian
    return gptq.quantize_table_rows(weight.numpy())


def one_scale(values: Any, importance: Any = None) -> tuple[Any, Any]:
    """Round blocks with the scale of their largest value."""
    del importance
    scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30) / 7
    return (values / scale).round().clamp(-8, 7) + 8, scale


WHOLE_HEAD = ModelWeights.head


def coarse_head(weights: Any, *, dim: int) -> Any:
    """Round the head's weights to 8 bits, a scale for each output; its input stays float32."""
    head = WHOLE_HEAD(weights, dim=dim)
    assert head is not None
    scales = np.maximum(np.abs(head).max(axis=0) / 127, 1e-12)
    return (np.rint(head / scales) * scales).astype(np.float32)


def zeros(found: Any, columns: Any) -> Any:
    """Smooth nothing."""
    del columns
    return np.zeros(len(found), np.int64)


@contextmanager
def patched(*changes: tuple[object, str, object]) -> Iterator[None]:
    """Replace attributes for one export."""
    held = [mock.patch.object(place, name, new) for place, name, new in changes]
    for one in held:
        one.start()
    try:
        yield
    finally:
        for one in held:
            one.stop()


Change = tuple[object, str, object]
EIGHT: tuple[tuple[str, str, tuple[Change, ...]], ...] = (
    ("int8", "auto", ()),
    ("int8, no head correction", "off", ()),
    ("- pairs not bounded", "off", ((activations, "quantize_pairs", quantize_rows),
                                    (scheme_int8, "quantize_pairs", quantize_rows))),
    ("- 7-bit weights instead", "off", ((activations, "quantize_pairs", seven_bits),
                                        (scheme_int8, "quantize_pairs", seven_bits))),
    ("- no smoothing", "off", ((activations, "smoothing_exponents", zeros),)),
    ("- no clipping", "off", ((activations, "SHRINK", np.array([1.0])),)),
    ("- the head's weights in 8 bits too", "off", ((ModelWeights, "head", coarse_head),)),
)  # fmt: skip
FOUR: tuple[tuple[str, str, tuple[Change, ...]], ...] = (
    ("q4", "auto", ()),
    ("q4, no head correction", "off", ()),
    ("- searched scales, no compensation", "off", ((gptq, "quantize_matrix", nearest),)),
    ("- round to nearest", "off", ((gptq, "quantize_matrix", nearest),
                                   (gptq, "quantize_blocks", one_scale))),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        twins = [read_checkpoint(arguments.checkpoint),
                 read_checkpoint(harden(arguments.checkpoint, Path(folder) / "hard"))]  # fmt: skip
        measure = [encoder_of(twin, Path(folder) / f"out{i}") for i, twin in enumerate(twins)]
        truths = [one("none", "off") for one in measure]
        print("| scheme | miniature | hardened |\n| --- | --- | --- |")
        for quant, rows in (("int8", EIGHT), ("q4", FOUR)):
            for label, correction, changes in rows:
                with patched(*changes):
                    cells = [
                        cell(one(quant, correction), truth)
                        for one, truth in zip(measure, truths, strict=True)
                    ]
                print(f"| {label} | {' | '.join(cells)} |", flush=True)


def encoder_of(checkpoint: Checkpoint, output: Path) -> Callable[[str, Any], Vectors]:
    """Return what exports with a scheme and encodes the bundled corpus."""
    corpus = read_corpus(BUNDLED_CORPUS)
    texts = [
        checkpoint.prompts.render_document(text, title=title)
        for text, title in zip(corpus.texts, corpus.titles, strict=True)
    ] + [checkpoint.prompts.render_query(text) for text in corpus.queries]

    def run(quant: str, correction: Any) -> Vectors:
        export_onnx(checkpoint, output, quant=quant, head_correction=correction, force=True)
        return OnnxEncoder(output).encode(texts)

    return run


def cell(found: Vectors, truth: Vectors) -> str:
    """Return the median of 1 - cosine and the 1st percentile of the cosine."""
    cosines = (found.astype(np.float64) * truth).sum(axis=1)
    return f"{np.median(1 - cosines):.1e} ({np.percentile(cosines, 1):.5f})"


if __name__ == "__main__":
    main()
