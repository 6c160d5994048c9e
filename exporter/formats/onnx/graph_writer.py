"""Write an ONNX graph node by node, its weights streamed to one external-data file."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from exporter.formats.onnx.flavour import PORTABLE, Flavour
from exporter.manifest import TensorRecord

OnWritten = Callable[[int], None]
"""Called with the number of weights written since the last call."""

INLINE_BYTES = 1024
ALIGNMENT = 64


class GraphWriter:
    """Collects nodes; weights go to `folder`/model.onnx_data as they come, so that memory holds
    one tensor at a time. `save` writes `folder`/model.onnx."""

    def __init__(
        self, folder: Path, *, flavour: Flavour = PORTABLE, on_written: OnWritten | None = None
    ) -> None:
        self.folder, self.flavour, self._on_written = folder, flavour, on_written
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.records: list[TensorRecord] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._counter = 0
        self._data = (folder / "model.onnx_data").open("wb")

    def __enter__(self) -> "GraphWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        outputs: int = 1,
        domain: str = "",
        unused: Sequence[int] = (),
        names: Sequence[str] = (),
        **attributes: Any,
    ) -> Any:
        """Add a node. Returns the name of its output, or a tuple of `outputs` names.

        `unused` are positions of outputs that are left out; their names come back empty.
        """
        self._counter += 1
        made = list(names) or [
            "" if i in unused else f"{op}_{self._counter}_{i}" for i in range(outputs)
        ]
        self.nodes.append(
            helper.make_node(
                op, list(inputs), made, name=f"{op}_{self._counter}", domain=domain, **attributes
            )
        )
        return made[0] if len(made) == 1 else tuple(made)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Return the name of a small constant, stored inside the graph once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def weight(
        self, name: str, values: npt.NDArray[Any], *, bits: float | None = None, reason: str = ""
    ) -> str:
        """Store a weight. `bits` is what the manifest records per weight, scales included."""
        return self.streamed(name, [values], values.shape, values.dtype, bits=bits, reason=reason)

    def streamed(
        self,
        name: str,
        blocks: Iterable[npt.NDArray[Any]],
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        *,
        bits: float | None = None,
        reason: str = "",
    ) -> str:
        """Store a weight that comes in blocks of rows. Returns its name."""
        dtype = np.dtype(dtype)
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(dtype), dims=list(shape)
        )
        size = int(np.prod(shape)) * dtype.itemsize
        if size <= INLINE_BYTES:
            tensor.raw_data = b"".join(np.ascontiguousarray(b, dtype).tobytes() for b in blocks)
        else:
            self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
            start = self._data.tell()
            for block in blocks:
                self._data.write(np.ascontiguousarray(block, dtype).data)
                if self._on_written is not None:
                    self._on_written(block.size)
            assert self._data.tell() - start == size, f"{name}: blocks do not fill its shape"
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", "model.onnx_data"),
                ("offset", start),
                ("length", size),
            ):
                tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        self.records.append(
            TensorRecord(
                name=name,
                dtype=dtype.name,
                shape=tuple(int(n) for n in shape),
                bits_per_weight=round(bits or 8.0 * dtype.itemsize, 4),
                reason=reason,
            )
        )
        return name

    def save(self, inputs: Sequence[Any], outputs: Sequence[Any], *, producer: str) -> None:
        """Write the graph; the data file is complete and closed afterwards.

        Raises BadInput for an operator that the flavour's runtime does not implement.
        """
        self.flavour.check_operators(
            f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in self.nodes
        )
        self._data.close()
        graph = helper.make_graph(
            self.nodes, "embedding", list(inputs), list(outputs), self.initializers
        )
        model = helper.make_model(
            graph,
            producer_name=producer,
            ir_version=self.flavour.ir_version,
            opset_imports=[
                helper.make_opsetid("", self.flavour.opset),
                helper.make_opsetid("com.microsoft", 1),
            ],
        )
        raw = model.SerializeToString(deterministic=True)
        (self.folder / "model.onnx").write_bytes(raw)


def tensor_value(name: str, kind: int, shape: Sequence[int | str]) -> Any:
    """Return the declaration of a graph input or output."""
    return helper.make_tensor_value_info(name, kind, list(shape))


INT64: int = TensorProto.INT64
FLOAT: int = TensorProto.FLOAT
FLOAT16: int = TensorProto.FLOAT16
BOOL: int = TensorProto.BOOL
