"""A checkpoint's folder: a path, or a model of the hub."""

import re
from pathlib import Path

from exporter.errors import BadInput, reason_of

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILES = ("*.json", "*.safetensors", "tokenizer.model", "vocab.txt", "README.md")


def locate_checkpoint(named: str, *, revision: str | None = None) -> Path:
    """Return the folder of a path, or of a hub id, fetched where it is not in the hub cache.

    `revision`: of the model on the hub, its main branch for None. A path that exists is never
    looked up. Raises BadInput where there is neither.
    """
    path = Path(named).expanduser()
    if path.exists() or HUB_ID.fullmatch(named) is None:
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                named,
                revision=revision,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except Exception as error:  # noqa: BLE001 - hub errors share no base across its versions
        reason = reason_of(error)
        raise BadInput(
            f"'{named}' is no folder here, and the hub did not give it as a model ({reason}); "
            "check the name, or pass a local folder"
        ) from None
