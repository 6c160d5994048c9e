"""Errors say what is wrong and what to do next."""

from exporter.checkpoint.contents import Prompts
from exporter.errors import MissingDependency, unknown_name


def test_an_unknown_name_suggests_the_nearest() -> None:
    message = str(unknown_name("GGUF type", "q8-0", ["f32", "q8_0"]))
    assert "did you mean 'q8_0'" in message
    assert "f32, q8_0" in message


def test_a_missing_dependency_names_the_install_line_and_exits_3() -> None:
    error = MissingDependency("onnx", extra="onnx")
    assert error.exit_code == 3
    assert "pip install 'lawvault-exporter[onnx]'" in str(error)


def test_a_prompt_is_a_template_or_a_prefix_and_braces_in_texts_stay() -> None:
    prompts = Prompts(query="query: ", document="title: {title} | text: {text}")
    assert prompts.render_query("{title}") == "query: {title}"
    assert prompts.render_document("{text}", title="T") == "title: T | text: {text}"
