"""What the architecture `gemma-embedding` of GGUF cannot say. Refused, never approximated."""

from exporter.checkpoint.records import Checkpoint, Gemma3Architecture
from exporter.errors import BadInput
from exporter.gguf.tokenizer_limits import check_tokenizer

NEXT = "export ONNX instead: lawvault export onnx"
PERIOD = 6  # llama.cpp's default for this architecture: five sliding layers, then a full one
DENSE_PATHS = ((), ("2_Dense", "3_Dense"))


def check_expressible(checkpoint: Checkpoint) -> None:
    """Raise BadInput where llama.cpp would load the file and compute something else, or abort."""
    a = checkpoint.architecture
    if a is None:
        reason = next(
            (f.evidence for f in checkpoint.findings if f.id == "architecture-not-built"), ""
        )
        raise BadInput(f"GGUF cannot hold this model: {reason}; use export onnx --graph traced")
    errors = [f for f in checkpoint.findings if f.severity == "error"]
    if errors:
        raise BadInput(f"{errors[0].evidence}: {errors[0].effect}; {errors[0].remedy}")
    if checkpoint.pooling != "mean":
        raise BadInput(
            f"pooling is '{checkpoint.pooling}'; this architecture is written with mean. {NEXT}"
        )
    _check_attention(a)
    _check_dense(checkpoint, hidden=a.hidden_size)
    check_tokenizer(checkpoint.path)


def _check_attention(a: Gemma3Architecture) -> None:
    if a.query_pre_attn_scalar != a.head_dim:
        raise BadInput(
            f"query_pre_attn_scalar is {a.query_pre_attn_scalar:g} and head_dim {a.head_dim}; "
            f"llama.cpp scales by 1/sqrt(head_dim) whatever the file says. {NEXT}"
        )
    pattern = tuple(
        "full_attention" if i % PERIOD == PERIOD - 1 else "sliding_attention"
        for i in range(a.num_layers)
    )
    if a.layer_types != pattern:
        first = next(i for i, kind in enumerate(a.layer_types) if kind != pattern[i])
        raise BadInput(
            f"layer {first} is {a.layer_types[first]}; llama.cpp takes every sixth layer as full "
            f"attention and the rest as sliding. {NEXT}"
        )
    if a.num_layers < PERIOD:
        # ggml-backend.cpp, GGML_ASSERT(buffer): the mask of the full layers is never allocated.
        raise BadInput(
            f"the model has {a.num_layers} layers, none with full attention; llama.cpp aborts on "
            f"the first text. {NEXT}"
        )


def _check_dense(checkpoint: Checkpoint, *, hidden: int) -> None:
    paths = tuple(d.path for d in checkpoint.dense)
    if paths not in DENSE_PATHS:
        raise BadInput(
            f"the Dense modules are {', '.join(paths)}; llama.cpp knows exactly 2_Dense followed "
            f"by 3_Dense. {NEXT}"
        )
    if checkpoint.dim != hidden:
        raise BadInput(
            f"the last Dense gives {checkpoint.dim} dimensions, the model's width is "
            f"{hidden}; llama.cpp needs them equal and aborts otherwise. {NEXT}"
        )
