"""`mixed`: a type for each matrix, and for the table, by the error of the vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf

from exporter.architectures.family import TABLE as TABLE_TENSOR
from exporter.architectures.family import Site
from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.compensated import as_grid, fit_matrix, input_block, rows_as_stored
from exporter.formats.gguf.plan import EMBEDDING, Plan, Storage
from exporter.formats.gguf.prepare import layers_of
from exporter.formats.gguf.tensors import gguf_family
from exporter.formats.gguf.types import MIXED, QTYPE, GgufType, divides
from exporter.formats.gguf.writer import header_bytes, tensor_bytes
from exporter.progress import Stages
from exporter.quantization.batches import Round
from exporter.quantization.block_inputs import round_blocks
from exporter.quantization.budget import Chosen, Sizes, check_budget, choose
from exporter.quantization.gptq import Grid
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import Fit
from exporter.quantization.sensitivity import Width, kept_sensitivity, measure_sensitivity
from exporter.quantization.weights import ModelWeights

TYPES = (QTYPE.IQ4_NL, QTYPE.Q4_K, QTYPE.Q5_0, QTYPE.Q5_K, QTYPE.Q6_K, QTYPE.Q8_0)
"""What a tensor may have. Of Q4_0, Q4_1 and Q5_1, others of as many bits are closer."""

FILE_TYPES = {
    QTYPE.IQ4_NL: gguf.LlamaFileType.MOSTLY_IQ4_NL,
    QTYPE.Q4_K: gguf.LlamaFileType.MOSTLY_Q4_K_M,
    QTYPE.Q5_0: gguf.LlamaFileType.MOSTLY_Q5_0,
    QTYPE.Q5_K: gguf.LlamaFileType.MOSTLY_Q5_K_M,
    QTYPE.Q6_K: gguf.LlamaFileType.MOSTLY_Q6_K,
    QTYPE.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0,
}


@dataclass(frozen=True)
class MixedPlan:
    """A plan (`exporter.formats.gguf.plan.Plan`) whose types were chosen. `chosen`: by the tensor's
    name in the file; `reasons`: likewise. What has no choice is as under the plan `embedding`."""

    chosen: Mapping[str, gguf.GGMLQuantizationType]
    reasons: Mapping[str, str]
    name: str = "embedding"
    own_grids: bool = True

    def storage(self, gguf_type: GgufType, name: str, shape: tuple[int, ...]) -> Storage:
        """See `Plan.storage`."""
        if name in self.chosen:
            return self.chosen[name], self.reasons.get(name, "")
        return EMBEDDING.storage(gguf_type, name, shape)

    def with_table(self, type_name: str) -> "MixedPlan":
        """See `Plan.with_table`."""
        del type_name
        raise BadInput("--budget chooses the table's type too; leave --embedding-type out")


def check_mixed(checkpoint: Checkpoint, budget: int, *, prompt_keys: bool) -> None:
    """Raise BadInput, naming the least, for a budget below what is possible."""
    check_budget(budget, _fixed(checkpoint, prompt_keys=prompt_keys), _sizes(checkpoint))


def choose_types(
    checkpoint: Checkpoint,
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    budget: int,
    prompt_keys: bool,
    keep: Path | None,
    stages: Stages,
) -> tuple[GgufType, Plan, Chosen]:
    """Return the file's type (what most of its weights have), the plan, and what was chosen.

    weights: of `turned_weights`; texts: prompts applied; `budget`: the most bytes of the file;
    `keep`: see `export_gguf`. Errors as in `measure_sensitivity` and `choose`.
    """
    table_types = _widths(weights.table.shape[1])
    errors = kept_sensitivity(
        keep,
        checkpoint,
        texts,
        what="gguf",
        measure=lambda: measure_sensitivity(
            weights,
            texts,
            widths=_site_widths,
            tables={stored.name: _table_rounding(stored) for stored in table_types},
            on_layer=layers_of(checkpoint, stages, "gguf: layers tried in every type"),
        ),
    )
    sizes = _sizes(checkpoint)
    chosen = choose(
        budget, fixed=_fixed(checkpoint, prompt_keys=prompt_keys), sizes=sizes, errors=errors
    )
    name_of = gguf_family(checkpoint).tensor_name
    plan = MixedPlan(
        {name_of(_tensor(name)): QTYPE[width] for name, width in chosen.widths.items()},
        {name_of(_tensor(name)): reason for name, reason in chosen.reasons.items()},
    )
    return replace(MIXED, file_type=FILE_TYPES[_most(checkpoint, chosen)]), plan, chosen


def _tensor(name: str) -> str:
    return name if name == TABLE_TENSOR else name + ".weight"


def _most(checkpoint: Checkpoint, chosen: Chosen) -> gguf.GGMLQuantizationType:
    """Return the type that most weights of the layers have."""
    counts: dict[str, int] = {}
    for name, width in chosen.widths.items():
        if name != TABLE_TENSOR:
            rows, columns = checkpoint.tensors[_tensor(name)].shape
            counts[width] = counts.get(width, 0) + rows * columns
    return QTYPE[max(sorted(counts), key=lambda width: counts[width])]


def _widths(columns: int) -> list[gguf.GGMLQuantizationType]:
    """Return the types whose blocks divide rows of `columns`, the narrowest first."""
    return [stored for stored in TYPES if divides(columns, stored)]


def _site_widths(site: Site) -> list[Width]:
    return [
        Width(stored.name, _fit(stored), round_blocks(input_block(stored)))
        for stored in _widths(site.width)
    ]


def _fit(stored: Any) -> Fit:
    def fit(name: str, weight: Any, importance: Any) -> Grid:
        return as_grid(fit_matrix(name, weight, importance, stored=stored))

    return fit


def _table_rounding(stored: Any) -> Round:
    return lambda rows: rows_as_stored(rows, stored)


def _sizes(checkpoint: Checkpoint) -> Sizes:
    """Return the bytes of every matrix, and of the table, in every type that it may have."""
    weights = ModelWeights(checkpoint)
    shapes = {TABLE_TENSOR: weights.table.shape, **weights.matrix_shapes}
    return {
        name: {stored.name: tensor_bytes(shape, stored) for stored in _widths(shape[1])}
        for name, shape in shapes.items()
    }


def _fixed(checkpoint: Checkpoint, *, prompt_keys: bool) -> int:
    """Return the bytes of the file without its table and matrices."""
    name_of = gguf_family(checkpoint).tensor_name
    narrowest = {
        name_of(_tensor(name)): QTYPE[min(sizes, key=lambda width: sizes[width])]
        for name, sizes in _sizes(checkpoint).items()
    }
    plan = MixedPlan(narrowest, {})
    return header_bytes(checkpoint, MIXED, plan=plan, prompt_keys=prompt_keys)
