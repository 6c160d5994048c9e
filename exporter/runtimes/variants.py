"""The original loaded wrongly, as servers and tables are known to have been made."""

from dataclasses import replace

from exporter.checkpoint.contents import Checkpoint
from exporter.runtimes.encoder import Encoder, Variant


def variants_of(checkpoint: Checkpoint, *, device: str | None = None) -> tuple[Variant, ...]:
    """Return torch fp32 without its Dense layers, with other sliding windows, and where the last
    token should be pooled, with the mean. None is loaded until it is asked; loading raises
    MissingDependency without torch."""

    def load(changed: Checkpoint, *, dense: bool = True, pooling: str | None = None) -> Encoder:
        from exporter.runtimes.torch_reference import TorchReference

        return TorchReference(changed, dtype="float32", device=device, dense=dense, pooling=pooling)

    found = []
    if checkpoint.dense and checkpoint.dense[0].in_features == checkpoint.dim:
        found.append(
            Variant("a model without its Dense layers", lambda: load(checkpoint, dense=False))
        )
    if checkpoint.pooling == "lasttoken":
        found.append(
            Variant(
                "a model that pools the mean of a text's tokens, not its last one",
                lambda: load(checkpoint, pooling="mean"),
            )
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
