"""What the architecture `gemma-embedding` of GGUF cannot say. Refused, never approximated."""

from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput

NEXT = "export ONNX instead: lawvault export onnx"


def check_expressible(checkpoint: Checkpoint) -> None:
    """Raise BadInput where llama.cpp would load the file and compute something else, or abort."""
    a = checkpoint.architecture
    if a is None:
        reason = next(
            (f.evidence for f in checkpoint.findings if f.id == "architecture-not-built"), ""
        )
        raise BadInput(f"GGUF cannot hold this model: {reason}; use export onnx --graph traced")
    if a.query_pre_attn_scalar != a.head_dim:
        raise BadInput(
            f"query_pre_attn_scalar is {a.query_pre_attn_scalar:g} and head_dim {a.head_dim}; "
            f"llama.cpp scales by 1/sqrt(head_dim) whatever the file says. {NEXT}"
        )
    pattern = tuple(
        "full_attention" if i % 6 == 5 else "sliding_attention" for i in range(a.num_layers)
    )
    if a.layer_types != pattern:
        first = next(i for i, kind in enumerate(a.layer_types) if kind != pattern[i])
        raise BadInput(
            f"layer {first} is {a.layer_types[first]}; llama.cpp takes every sixth layer as full "
            f"attention and the rest as sliding. {NEXT}"
        )
    paths = tuple(d.path for d in checkpoint.dense)
    if paths not in ((), ("2_Dense", "3_Dense")):
        raise BadInput(
            f"the Dense modules are {', '.join(paths)}; llama.cpp knows exactly 2_Dense followed "
            f"by 3_Dense. {NEXT}"
        )
    if checkpoint.dim != a.hidden_size:
        raise BadInput(
            f"the last Dense gives {checkpoint.dim} dimensions, the model's width is "
            f"{a.hidden_size}; llama.cpp needs them equal and aborts otherwise. {NEXT}"
        )
    errors = [f for f in checkpoint.findings if f.severity == "error"]
    if errors:
        raise BadInput(f"{errors[0].evidence}: {errors[0].effect}; {errors[0].remedy}")
