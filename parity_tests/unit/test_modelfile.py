from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import BadInput
from exporter.package.modelfile import (
    check_modelfile,
    model_tag,
    parse_modelfile,
    render_modelfile,
)

PRINTABLE = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30)


@given(st.lists(PRINTABLE.filter(lambda t: not t.endswith('"')), min_size=1, max_size=5))
def test_a_rendered_licence_is_read_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    parsed = parse_modelfile(render_modelfile("m.gguf", num_ctx=2048, license_text=text))
    assert [i.name for i in parsed] == ["from", "parameter", "license"]
    assert parsed[2].value == text


def test_the_grammar_is_ollamas() -> None:
    parsed = parse_modelfile(
        '# note　x\nfRoM ./a.gguf\nPARAMETER num_ctx　 64\nSYSTEM """a\nb"""\n'
    )
    assert [(i.name, i.value) for i in parsed] == [
        ("from", "./a.gguf"), ("parameter", "num_ctx 64"), ("system", "a\nb"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FORM ./m.gguf", "unknown instruction 'FORM'"),
        ("PARAMETER num_ctx 64", "has no FROM"),
        ('FROM ./m.gguf\nLICENSE """x', "never closed"),
        ("FROM", "has no value"),
        ("FROM ./other.gguf", "is no file"),
        ("FROM m.gguf", "is no file"),
        ("FROM ./m.gguf\nTEMPLATE x", "TEMPLATE has no effect"),
        ("FROM ./m.gguf\nPARAMETER num_ctx many", "not a whole number"),
    ],
)
def test_a_modelfile_that_would_mislead_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "Modelfile").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=expected):
        check_modelfile(tmp_path)


def test_a_licence_that_would_end_its_block_is_refused() -> None:
    with pytest.raises(BadInput, match="three quotes"):
        render_modelfile("m.gguf", num_ctx=64, license_text='a """\nb')


def test_model_tags_are_valid_for_ollama() -> None:
    assert model_tag("Law Vault+300M", "q8_0") == "law-vault-300m-q8_0"
    assert model_tag("法", "f16") == "model-f16"
