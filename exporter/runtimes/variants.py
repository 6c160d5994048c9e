"""The original loaded wrongly, as servers and tables are known to have been made."""

from typing import Any

from exporter.architectures.family import family_of, window_reach
from exporter.checkpoint.contents import Checkpoint
from exporter.runtimes.encoder import Encoder, Variant


def variants_of(checkpoint: Checkpoint, *, device: str | None = None) -> tuple[Variant, ...]:
    """Return torch fp32 without its Dense layers, pooled otherwise, and with other sliding windows.
    None is loaded until it is asked; loading raises MissingDependency without torch."""

    def load(**changed: Any) -> Encoder:
        from exporter.runtimes.torch_reference import TorchReference

        return TorchReference(checkpoint, dtype="float32", device=device, **changed)

    found = []
    if checkpoint.architecture is not None:
        for other in family_of(checkpoint.architecture).poolings:
            if other != checkpoint.pooling:
                found.append(
                    Variant(
                        f"a model pooled by '{other}' instead of '{checkpoint.pooling}'",
                        lambda other=other: load(pooling=other),  # type: ignore[misc]
                    )
                )
    modules = [dense for dense in checkpoint.dense if dense.path]
    if modules and modules[0].in_features == checkpoint.dim:
        found.append(Variant("a model without its Dense layers", lambda: load(dense=False)))
    reach = window_reach(checkpoint)
    if reach is not None:
        decided = checkpoint.window_used is not None
        for size, far in (("twice", 2 * reach), ("half", reach // 2)):
            found.append(
                Variant(
                    f"a model whose sliding window is {size} as wide",
                    lambda far=far: load(reach=far),  # type: ignore[misc]
                    beyond=min(reach, far) + 1,
                    remedy="pass the other --window" if decided else "",
                )
            )
    return tuple(found)
