"""Read a GGUF's header without trusting it.

PyPI's GGUFReader maps a file and follows every count and offset in it: a damaged one ends in an
IndexError, gigabytes of memory, or minutes. Here every size is checked before it is believed, so
that a file from anywhere can be named for what it is. Format: ggml/docs/gguf.md in
https://github.com/ggml-org/ggml.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput

MAGIC = b"GGUF"
VERSION = 3
MOST_KEYS = 65_536
MOST_TENSORS = 65_536
LONGEST_NAME = 65_535  # bytes of a key; llama.cpp allows 64 of a tensor's name
DEFAULT_ALIGNMENT = 32
STRING, ARRAY, BOOL = 8, 9, 7
NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    BOOL: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as the header has it. shape: slowest axis first, as numpy counts; `ggml_type`: the
    number of a ggml type; `offset`: from the start of the file."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """A file's keys and tensors. Strings are str, arrays of strings lists of bytes (pieces need
    not be UTF-8), other arrays numpy."""

    path: Path
    size_bytes: int
    keys: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    alignment: int


def read_gguf_header(path: Path) -> GgufHeader:
    """Return the header of `path`. Raises BadInput naming the file and what is wrong with it."""
    if not path.exists():
        raise BadInput(f"no such file: '{path}'")
    if not path.is_file():
        raise BadInput(f"'{path}' is no file; name the .gguf in it")
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(4)
        if start != MAGIC:
            what = "is empty" if size == 0 else f"begins with {start!r}, not b'GGUF'"
            raise BadInput(f"'{path}' {what}; it is no GGUF file")
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _Reader(path, mapped, size).header()


class _Reader:
    """A cursor that never runs past the end of the file."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path, self.data, self.size, self.at = path, data, size, 4

    def fail(self, what: str) -> BadInput:
        return BadInput(f"'{self.path}': {what}")

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            raise self.fail(
                f"{what} reaches past the end of the file ({self.size:,} bytes); it is truncated "
                "or damaged, copy it again"
            )
        found = self.data[self.at : self.at + count]
        self.at += count
        return found

    def number(self, code: str, what: str) -> int:
        (found,) = struct.unpack("<" + code, self.take(struct.calcsize(code), what))
        return int(found)

    def name(self, what: str) -> str:
        length = self.number("Q", f"the length of {what}")
        if length > LONGEST_NAME:
            raise self.fail(f"{what} is said to be {length:,} bytes long; the file is damaged")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8; the file is damaged") from None

    def string(self, what: str) -> bytes:
        return self.take(self.number("Q", f"the length of {what}"), what)

    def header(self) -> GgufHeader:
        self._version()
        tensors, keys = self.number("Q", "the tensor count"), self.number("Q", "the key count")
        for count, most, what in ((keys, MOST_KEYS, "keys"), (tensors, MOST_TENSORS, "tensors")):
            if count > most:
                raise self.fail(
                    f"it claims {count:,} {what}, more than the {most:,} that any model has; the "
                    "file is damaged or made to harm, take it from its publisher"
                )
        found: dict[str, Any] = {}
        for i in range(keys):
            name = self.name(f"key {i + 1} of {keys}")
            if name in found:
                raise self.fail(f"key '{name}' is listed twice; llama.cpp refuses such a file")
            kind = self.number("I", f"the type of key '{name}'")
            found[name] = self._value(kind, f"key '{name}'")
        alignment = found.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            raise self.fail(f"general.alignment is {alignment!r}; it must be a power of two")
        listed = [self._tensor(i, tensors) for i in range(tensors)]
        start = -(-self.at // alignment) * alignment
        placed = tuple(GgufTensor(n, shape, kind, start + at) for n, shape, kind, at in listed)
        return GgufHeader(self.path, self.size, found, placed, alignment)

    def _version(self) -> None:
        version = self.number("I", "the version")
        if version == VERSION:
            return
        if int.from_bytes(version.to_bytes(4, "little"), "big") == VERSION:
            raise self.fail("it is big-endian; convert it for this sort of machine")
        raise self.fail(
            f"it is GGUF version {version}, and version {VERSION} is what llama.cpp and Ollama "
            "load; convert the model again"
        )

    def _value(self, kind: int, what: str) -> Any:
        if kind == STRING:
            return self.string(what).decode("utf-8", "replace")
        if kind in NUMBERS:
            return self._numbers(kind, 1, what)[0].item()
        if kind != ARRAY:
            raise self.fail(f"{what} has the unknown type {kind}; the file is damaged")
        inner = self.number("I", f"the element type of {what}")
        count = self.number("Q", f"the length of {what}")
        if inner == STRING:
            if count > (self.size - self.at) // 8:  # each has a length of eight bytes at least
                raise self.fail(f"{what} claims {count:,} strings; the file is damaged")
            return [self.string(what) for _ in range(count)]
        if inner not in NUMBERS:
            raise self.fail(f"{what} holds elements of type {inner}, which nothing reads")
        return self._numbers(inner, count, what)

    def _numbers(self, kind: int, count: int, what: str) -> Any:
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self.take(count * dtype.itemsize, what), dtype)

    def _tensor(self, index: int, count: int) -> tuple[str, tuple[int, ...], int, int]:
        name = self.name(f"the name of tensor {index + 1} of {count}")
        axes = self.number("I", f"the axes of tensor '{name}'")
        if axes > 4:
            raise self.fail(f"tensor '{name}' has {axes} axes, ggml knows four; it is damaged")
        shape = tuple(self.number("Q", f"the shape of tensor '{name}'") for _ in range(axes))
        if math.prod(shape) > 1 << 48:
            raise self.fail(f"tensor '{name}' has the shape {shape[::-1]}; the file is damaged")
        kind = self.number("I", f"the type of tensor '{name}'")
        return name, shape[::-1], kind, self.number("Q", f"the offset of tensor '{name}'")
