"""Errors say what is wrong and what to do next."""

import re
import tomllib
from importlib.metadata import packages_distributions

import pytest

from exporter.checkpoint.contents import Prompts
from exporter.errors import EXTRAS, MissingDependency, require, unknown_name
from exporter.format import all_formats
from parity_tests.conftest import REPOSITORY


def test_an_unknown_name_suggests_the_nearest() -> None:
    message = str(unknown_name("GGUF type", "q8-0", ["f32", "q8_0"]))
    assert "did you mean 'q8_0'" in message
    assert "f32, q8_0" in message


def test_a_missing_dependency_names_the_install_line_and_exits_3() -> None:
    error = MissingDependency("onnx")
    assert error.exit_code == 3
    assert str(error).endswith("install it with: pip install 'lawvault-exporter[onnx]'")


def test_all_that_is_missing_stands_in_one_install_line() -> None:
    with pytest.raises(MissingDependency, match=r"'nowhere\.at\.all', which is") as error:
        require("click", "nowhere.at.all")
    assert "click" not in str(error.value)
    both = str(MissingDependency("onnx", "torch", "transformers"))
    assert "'onnx' and 'torch' and 'transformers', which are" in both
    assert both.endswith("install them with: pip install 'lawvault-exporter[onnx,torch]'")


def test_every_extra_that_an_error_names_is_one_and_brings_its_module() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    brings = {
        extra: {re.split(r"[\[<>=~]", line)[0] for line in lines}
        for extra, lines in declared["optional-dependencies"].items()
    }
    distributions = packages_distributions()
    for module, extra in EXTRAS.items():
        if module == "pyarrow":  # of lancedb
            continue
        if extra == "litert-export":  # an environment of its own
            assert module.replace("_", "-") in brings[extra]
            continue
        known = {name.lower().replace("_", "-") for name in distributions[module]}
        assert known & brings[extra], f"{extra} does not bring {module}"
    for found in all_formats():
        assert set(found.export_needs) | set(found.runtime_needs) <= set(EXTRAS)


def test_a_prompt_is_a_template_or_a_prefix_and_braces_in_texts_stay() -> None:
    prompts = Prompts(query="query: ", document="title: {title} | text: {text}")
    assert prompts.render_query("{title}") == "query: {title}"
    assert prompts.render_document("{text}", title="T") == "title: T | text: {text}"
