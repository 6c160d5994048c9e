"""Widths within a budget: the knapsack against all choices, and what is refused."""

import itertools

import numpy as np
import pytest

from exporter.errors import BadInput
from exporter.format import format_of, parse_size
from exporter.quantization.budget import Errors, Sizes, choose
from exporter.recipe import ArtifactSpec

Drawn = tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]


def drawn(seed: int, *, tensors: int = 6) -> Drawn:
    """Return sizes and errors of tensors with three widths each, wider ones closer."""
    rng = np.random.default_rng(seed)
    sizes, errors = {}, {}
    for number in range(tensors):
        weights, cost = int(rng.integers(50, 5000)), float(rng.random())
        sizes[f"t{number}"] = {"a": weights * 4, "b": weights * 5, "c": weights * 8}
        errors[f"t{number}"] = {"a": cost, "b": cost / 4, "c": cost / 200}
    return sizes, errors


def best(budget: int, sizes: Sizes, errors: Errors) -> float:
    """Return the least sum of errors by trying everything."""
    found = []
    for widths in itertools.product("abc", repeat=len(sizes)):
        chosen = dict(zip(sizes, widths, strict=True))
        if sum(sizes[name][width] for name, width in chosen.items()) <= budget:
            found.append(sum(errors[name][width] for name, width in chosen.items()))
    return min(found)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
def test_the_choice_is_the_best_there_is(seed: int, share: float) -> None:
    sizes, errors = drawn(seed)
    least, most = (sum(pick(w.values()) for w in sizes.values()) for pick in (min, max))
    budget = 1000 + least + int(share * (most - least))
    found = choose(budget, fixed=1000, sizes=sizes, errors=errors)
    taken = sum(sizes[name][width] for name, width in found.widths.items())
    assert taken + 1000 <= budget
    assert found.error == pytest.approx(best(budget - 1000, sizes, errors))


def test_a_width_that_is_larger_and_no_closer_is_never_taken() -> None:
    sizes = {"t": {"narrow": 10, "useless": 20, "wide": 30}}
    errors = {"t": {"narrow": 0.5, "useless": 0.6, "wide": 0.1}}
    assert choose(25, fixed=0, sizes=sizes, errors=errors).widths == {"t": "narrow"}
    found = choose(30, fixed=0, sizes=sizes, errors=errors)
    assert found.reasons == {"t": "budget: costs the vector 1.0e-01, 5.0e-01 with narrow"}


def test_a_budget_below_what_is_possible_is_told_the_least() -> None:
    sizes, errors = drawn(0)
    least = sum(min(widths.values()) for widths in sizes.values())
    with pytest.raises(BadInput, match=r"below the least, 0\.4MB"):
        choose(250_000 + least - 1, fixed=250_000, sizes=sizes, errors=errors)
    choose(250_000 + least, fixed=250_000, sizes=sizes, errors=errors)


@pytest.mark.parametrize(
    ("text", "found"),
    [("150MB", 150_000_000), ("143 MiB", 143 << 20), ("1.5gb", 1_500_000_000), ("80000", 80_000)],
)
def test_sizes_are_read(text: str, found: int) -> None:
    assert parse_size(text) == found


@pytest.mark.parametrize("text", ["", "MB", "0MB", "-1MB", "150 megabytes", "1e9", "../150MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="write it as 150MB"):
        parse_size(text)


@pytest.mark.parametrize("name", ["onnx", "gguf"])
def test_a_budget_and_a_scheme_do_not_go_together(name: str) -> None:
    found = format_of(name)
    assert found.asked_for(None, {"budget": "150MB"}) == "mixed"
    assert found.asked_for(None, {}) == found.default_scheme
    with pytest.raises(BadInput, match=r"leave --(quant|type) out"):
        found.asked_for(found.default_scheme, {"budget": "150MB"})
    with pytest.raises(BadInput, match="mixed needs a size: --budget"):
        found.asked_for("mixed", {})


def test_a_recipe_may_ask_for_a_budget() -> None:
    spec = ArtifactSpec(format="gguf", scheme="mixed", budget="150MB")
    assert spec.name == "gguf-mixed-150MB"
    with pytest.raises(ValueError, match="mixed needs a size"):
        ArtifactSpec(format="gguf", scheme="mixed")
    with pytest.raises(ValueError, match="does not belong to artifacts of format openvino"):
        ArtifactSpec(format="openvino", scheme="int8", budget="150MB")
