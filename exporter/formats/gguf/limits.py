"""What a GGUF cannot say of a checkpoint. Refused, never approximated."""

from exporter.architectures.family import family_of
from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.tensors import tokenizer_of

NEXT = "export ONNX instead: lawvault export onnx"
DENSE_PATHS = ((), ("2_Dense", "3_Dense"))


def check_expressible(checkpoint: Checkpoint) -> None:
    """Raise BadInput where llama.cpp would load the file and compute something else, or abort."""
    a = checkpoint.architecture
    if a is None:
        reason = checkpoint.not_built
        raise BadInput(f"GGUF cannot hold this model: {reason}; use export onnx --graph traced")
    errors = [f for f in checkpoint.findings if f.severity == "error"]
    if errors:
        raise BadInput(f"{errors[0].evidence}: {errors[0].effect}; {errors[0].remedy}")
    known = family_of(a)
    family = known.gguf
    if family is None:
        raise BadInput(f"no GGUF of a model of type '{a.model_type}': {known.no_gguf}. {NEXT}")
    family.check(checkpoint)
    _check_dense(checkpoint, hidden=a.hidden_size)
    tokenizer_of(checkpoint).check(checkpoint)


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
