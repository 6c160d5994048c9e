"""JSON and TOML from anyone: one error, which says where and what next."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import BadInput
from exporter.parsing import parse_json, parse_toml

DIGITS = "9" * 5_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "'f' is not valid UTF-8 (byte 0); copy it again"),
        ("{", "'f' is not valid JSON (line 1, column 2: "),
        ("[" * 100_000, "'f' is nested too deeply; copy it again"),
        (f'{{"a": {DIGITS}}}', "'f' is not valid JSON (a number of thousands of digits)"),
        (r'{"a": ["\ud800"]}', r"'f' holds half a surrogate pair (\ud800); copy it again"),
        (r'{"\uDFFF": 1}', "'f' holds half a surrogate pair"),
    ],
)
def test_bad_json_is_named(content: str | bytes, said: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_json(content, "'f'", remedy="copy it again")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "'f' is not valid UTF-8 (byte 0); mend it"),
        ("a = ", "'f' is not valid TOML (Invalid value"),
        ("a = " + "[" * 100_000, "'f' is nested too deeply; mend it"),
        (f"a = {DIGITS}", "'f' is not valid TOML (a number of thousands of digits); mend it"),
    ],
)
def test_bad_toml_is_named(content: str | bytes, said: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_toml(content, "'f'", remedy="mend it")
    assert said in str(error.value)


def test_a_key_may_be_refused_a_second_time() -> None:
    assert parse_json('{"a": 1, "a": 2}', "'f'", remedy="") == {"a": 2}
    with pytest.raises(BadInput, match="'f' names 'a' twice; save it again"):
        parse_json('[{"a": 1, "a": 2}]', "'f'", remedy="save it again", twice=False)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_json(r'"\ud83d\ude00"', "'f'", remedy="") == "😀"


@given(st.text(string.printable + '"\\{}[]\ud7ff\ue000', max_size=40) | st.binary(max_size=40))
def test_whatever_is_given_is_a_value_or_the_inputs_error(content: str | bytes) -> None:
    for parse in (parse_json, parse_toml):
        try:
            found = parse(content, "'f'", remedy="x")
        except BadInput as error:
            assert str(error).startswith("'f' ")
        else:
            json.dumps(found, ensure_ascii=False, default=str).encode()
