import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import BadInput
from exporter.packages.ollama.modelfile import model_tag, plain_text, render_modelfile
from parity_tests.ollama_modelfile import parse_modelfile

PRINTABLE = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30)


@given(st.lists(PRINTABLE.filter(lambda t: not t.endswith('"')), min_size=1, max_size=5))
def test_a_rendered_licence_is_read_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    parsed = parse_modelfile(render_modelfile("m.gguf", num_ctx=2048, license_text=text))
    assert [i.name for i in parsed] == ["from", "parameter", "license"]
    assert parsed[2].value == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_licence_is_read_as_it_is_meant_or_refused(text: str) -> None:
    try:
        rendered = render_modelfile("m.gguf", num_ctx=64, license_text=text)
    except BadInput:
        assert '"""' in plain_text(text)
        return
    licences = [i.value for i in parse_modelfile(rendered) if i.name == "license"]
    meant = plain_text(text).strip()
    assert licences == ([meant] if meant else [])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_file_name_is_read_as_it_is_meant_or_refused(name: str) -> None:
    try:
        rendered = render_modelfile(name, num_ctx=64)
    except BadInput:
        return
    assert [i.value for i in parse_modelfile(rendered)] == [f"./{name}", "num_ctx 64"]


@pytest.mark.parametrize("name", ["a\u3000b.gguf", "a\nb.gguf", "zero\u200bwidth.gguf"])
def test_a_file_name_that_ollama_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="plain characters"):
        render_modelfile(name, num_ctx=64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# note　x\nfRoM ./a.gguf\n", [("from", "./a.gguf")]),
        ("FROM a\nPARAMETER num_ctx 64", [("from", "a"), ("parameter", "num_ctx 64")]),
        ('FROM a\nSYSTEM """a\nb"""\n', [("from", "a"), ("system", "a\nb")]),
        ('FROM a\nLICENSE "two\nlines"\n', [("from", "a"), ("license", "two\nlines")]),
        ('FROM a\nLICENSE """x""" """y\n"""', [("from", "a"), ("license", 'x""" """y\n')]),
        ("FROM ./全角　空格.gguf", [("from", "./全角空格.gguf")]),
        ("FROM a # no comment", [("from", "a # no comment")]),
        ("\u3000FROM a", [("from", "a")]),
        ("FROM a\rLICENSE b", [("from", "a"), ("license", "b")]),
        ("FROM a\nMESSAGE user hi there", [("from", "a"), ("message", "user: hi there")]),
        ("FROM a\nPARAMETER  num_ctx 64", [("from", "a"), ("parameter", " num_ctx 64")]),
        ("\ufeffFROM a", [("from", "a")]),
    ],
)
def test_the_grammar_is_ollamas(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(i.name, i.value) for i in parse_modelfile(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FORM ./m.gguf", "unknown instruction 'FORM'"),
        ("PARAMETER num_ctx 64", "has no FROM"),
        ('FROM ./m.gguf\nLICENSE """x', "never closed"),
        ("FROM", "has no value"),
        ("FROM\n./m.gguf", "line 1: the instruction has no value"),
        ("FROM ./m.gguf\nPARAMETER num_ctx\u3000 64", "line 2: .* within the name"),
        ("FROM ./m.gguf\nMESSAGE me hi", "message role 'me'"),
    ],
)
def test_what_ollama_refuses_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_modelfile(text)


def test_a_licence_that_would_end_its_block_is_refused() -> None:
    with pytest.raises(BadInput, match="three quotes"):
        render_modelfile("m.gguf", num_ctx=64, license_text='a """\nb')


def test_model_tags_are_valid_for_ollama() -> None:
    assert model_tag("Law Vault+300M", "q8_0") == "law-vault-300m-q8_0"
    assert model_tag("法", "f16") == "model-f16"
    assert model_tag("x" * 200, "q8_0") == "x" * 75 + "-q8_0"
