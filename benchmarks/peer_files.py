"""The files that benchmarks put side by side: this project's and other tools', by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.peer_makes import (
    GROUP,
    Make,
    copy,
    gguf,
    intel_weights,
    nncf_int8,
    optimum_fp32,
    optimum_int8,
    ours,
    ours_openvino,
    plain_float16,
    round_to_nearest,
    st_int8,
)
from benchmarks.peer_runs import (
    Run,
    load_gguf,
    load_openvino,
    load_openvino_untouched,
    load_st,
    session,
    torch_in,
)
from exporter.errors import unknown_name


@dataclass(frozen=True)
class Peer:
    """`make` writes a folder, `load` returns what runs it. `after`: the peer whose folder it starts
    from; `needs`: distributions; `calibrated`: whether texts decide its bytes."""

    make: Make
    load: Callable[[Path], Run]
    after: str = ""
    needs: tuple[str, ...] = ()
    calibrated: bool = False


ONNX = ("onnx", "onnxruntime")
TRACED = (*ONNX, "optimum-onnx")
TORCH = ("sentence-transformers", "torch")
LLAMA = ("gguf", "llama-cpp-python")
NNCF = (*TRACED, "openvino", "nncf")
FROM = "optimum fp32"

# Others' OpenVINO files are loaded with no property at all, as their users load them.
PEERS: Mapping[str, Peer] = {
    "torch fp32": Peer(copy, torch_in("float32"), needs=TORCH),
    "torch bf16": Peer(copy, torch_in("bfloat16"), needs=TORCH),
    "ours fp32": Peer(ours("fp32"), session, needs=ONNX),
    "ours fp32 cpu23": Peer(ours("fp32", flavour="cpu23"), session, needs=ONNX),
    "ours fp16": Peer(ours("fp16"), session, needs=ONNX, calibrated=True),
    "ours int8": Peer(ours("int8"), session, needs=ONNX, calibrated=True),
    "ours int8 cpu23": Peer(ours("int8", flavour="cpu23"), session, needs=ONNX, calibrated=True),
    "ours q4": Peer(ours("q4"), session, needs=ONNX, calibrated=True),
    "ours q4f16": Peer(ours("q4f16"), session, needs=ONNX, calibrated=True),
    "optimum fp32": Peer(optimum_fp32, session, needs=TRACED),
    "optimum plain fp16": Peer(plain_float16, session, after=FROM, needs=TRACED),
    "optimum int8": Peer(optimum_int8, session, after=FROM, needs=TRACED),
    "sentence-transformers int8": Peer(st_int8, load_st, needs=(*TRACED, *TORCH)),
    "transformers.js q4": Peer(round_to_nearest, session, after=FROM, needs=(*TRACED, "onnx-ir")),
    "ours OpenVINO fp32": Peer(ours_openvino("fp32"), load_openvino, needs=("openvino",)),
    "ours OpenVINO int8": Peer(
        ours_openvino("int8"), load_openvino, needs=("openvino",), calibrated=True
    ),
    "ours OpenVINO int8 no property": Peer(
        copy, load_openvino_untouched, after="ours OpenVINO int8", needs=("openvino",)
    ),
    "OpenVINO fp32": Peer(copy, load_openvino, after=FROM, needs=(*TRACED, "openvino")),
    "NNCF int8": Peer(nncf_int8, load_openvino_untouched, after=FROM, needs=NNCF, calibrated=True),
    "optimum-intel int8 weights": Peer(
        intel_weights("INT8_ASYM"), load_openvino_untouched, after=FROM, needs=NNCF
    ),
    "optimum-intel int4 weights": Peer(
        intel_weights("INT4_ASYM", group_size=GROUP),
        load_openvino_untouched,
        after=FROM,
        needs=NNCF,
    ),
    "ours GGUF q8_0": Peer(gguf("q8_0"), load_gguf, needs=LLAMA, calibrated=True),
    "ours GGUF q4_k_m": Peer(gguf("q4_k_m"), load_gguf, needs=LLAMA, calibrated=True),
    "ours GGUF q4_0": Peer(gguf("q4_0"), load_gguf, needs=LLAMA, calibrated=True),
    "llama.cpp f32": Peer(gguf("f32", plan="upstream"), load_gguf, needs=LLAMA),
    "llama-quantize q8_0": Peer(gguf("q8_0", plan="upstream"), load_gguf, needs=LLAMA),
    "llama-quantize q4_k_m": Peer(gguf("q4_k_m", plan="upstream"), load_gguf, needs=LLAMA),
}
"""Names have no comma: `--only` separates by it."""

TRUTH, NOISE = "torch fp32", "torch bf16"

# Float16 on a processor is for quality alone: most of it is computed in float32 there.
SPEED = tuple(n for n in PEERS if n not in ("ours fp16", "ours q4f16", "optimum plain fp16"))
QUALITY = tuple(
    n
    for n in PEERS
    if n
    not in (
        TRUTH,
        NOISE,
        "ours fp32 cpu23",
        "ours int8 cpu23",
        "OpenVINO fp32",
        "ours OpenVINO fp32",
        "llama.cpp f32",
    )
)


def chosen_names(only: str | None, default: Sequence[str]) -> list[str]:
    """Return the names in `only`, separated by commas, or the default. Raises BadInput for one that
    is unknown."""
    names = list(default) if only is None else [name.strip() for name in only.split(",")]
    for name in names:
        if name not in PEERS:
            raise unknown_name("file", name, PEERS)
    return names


def missing_needs(name: str) -> list[str]:
    """Return the distributions that a peer needs and that are not installed."""
    installed = {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
    return [need for need in PEERS[name].needs if need not in installed]
