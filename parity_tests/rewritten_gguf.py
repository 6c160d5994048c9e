"""Copies of a GGUF file with one thing changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def rewrite(
    source: Path,
    target: Path,
    *,
    keys: Callable[[dict[str, Any]], None] = lambda keys: None,
    tensors: Callable[[dict[str, Any]], None] = lambda tensors: None,
) -> Path:
    """Write a copy with keys (name -> field) and tensors (name -> [data, type]) changed."""
    reader = gguf.GGUFReader(source)
    fields = {
        name: [field.contents(), *field.types]
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    held = {t.name: [np.array(t.data), t.tensor_type] for t in reader.tensors}
    keys(fields)
    tensors(held)
    writer = gguf.GGUFWriter(target, "x")
    writer.kv_data[0].pop("general.architecture")
    for name, (value, kind, *inner) in fields.items():
        writer.add_key_value(name, value, kind, *inner[:1])
    for name, (data, kind) in held.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda found: found.pop(name)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found[name].__setitem__(0, value)
