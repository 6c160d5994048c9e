"""The original loaded wrongly, as servers and tables are known to have been made."""

from dataclasses import replace

from exporter.architectures.family import family_of
from exporter.checkpoint.contents import Checkpoint
from exporter.runtimes.encoder import Encoder, Variant


def variants_of(checkpoint: Checkpoint, *, device: str | None = None) -> tuple[Variant, ...]:
    """Return torch fp32 without its Dense layers, pooled otherwise, and with other sliding windows.
    None is loaded until it is asked; loading raises MissingDependency without torch."""

    def load(changed: Checkpoint, *, dense: bool = True, pooling: str | None = None) -> Encoder:
        from exporter.runtimes.torch_reference import TorchReference

        return TorchReference(changed, dtype="float32", device=device, dense=dense, pooling=pooling)

    found = []
    if checkpoint.architecture is not None:
        for other in family_of(checkpoint.architecture).poolings:
            if other != checkpoint.pooling:
                found.append(
                    Variant(
                        f"a model pooled by '{other}' instead of '{checkpoint.pooling}'",
                        lambda other=other: load(checkpoint, pooling=other),  # type: ignore[misc]
                    )
                )
    modules = [dense for dense in checkpoint.dense if dense.path]
    if modules and modules[0].in_features == checkpoint.dim:
        found.append(
            Variant("a model without its Dense layers", lambda: load(checkpoint, dense=False))
        )
    used = checkpoint.window_used
    if used is not None:
        for size, raw, beyond in (
            ("twice", 2 * used, used // 2),
            ("half", used // 2 + 1, used // 4),
        ):
            changed = replace(checkpoint, window_used=raw)
            found.append(
                Variant(
                    f"a model whose sliding window is {size} as wide",
                    lambda changed=changed: load(changed),  # type: ignore[misc]
                    beyond=beyond + 1,
                    remedy="pass the other --window",
                )
            )
    return tuple(found)
