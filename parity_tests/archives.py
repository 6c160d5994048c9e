"""Archives of sources, unpacked."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def extract(packed: tarfile.TarFile, target: Path, members: Sequence[tarfile.TarInfo]) -> None:
    """Unpack members, by the filter that lets none leave `target` where this Python has it."""
    options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    packed.extractall(target, members=members, **options)  # 3.11 before 3.11.4 has no filters
