"""Reports that hold names and texts of others: nothing in them is live."""

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.evaluation.table import QuestionRanks
from exporter.markdown_text import harmless
from exporter.report.evaluation import write_details


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("# <img src=x onerror=alert(1)>", "# &lt;img src=x onerror=alert(1)>"),
        ("</td><script>a</script>", "&lt;/td>&lt;script>a&lt;/script>"),
        ("<!-- x -->", "&lt;!-- x -->"),
        ("[a](javascript:alert)", "[a](#)"),
        ("[a](javascript:alert(1))", "[a](#))"),
        ("[a]( JavaScript:alert)", "[a]( #)"),
        ("[a](\njava&#115;cript:alert)", "[a](\n#)"),
        ("[a](java\tscript:alert)", "[a](java\tscript:alert)"),  # a blank ends a target
        ("[a]: data:text/html;base64,xx", "[a]: #"),
        ("[a](https://example.org/x) [b](b.md#c)", "[a](https://example.org/x) [b](b.md#c)"),
        ("a < b, 3 <= 4", "a < b, 3 <= 4"),
        ("sent as `<b>{text}</b>`", "sent as `<b>{text}</b>`"),
        ("``a ` <b>`` <b>", "``a ` <b>`` &lt;b>"),
        ("sent as `x` <b>` y`", "sent as `x` &lt;b>` y`"),
        ("\\`<b>`", "\\`&lt;b>`"),
        ("| `a | <b>` |", "| `a | &lt;b>` |"),
        ("`a\n\n<b>`", "`a\n\n&lt;b>`"),
    ],
)
def test_tags_are_text_and_links_of_other_schemes_lead_nowhere(given: str, shown: str) -> None:
    assert harmless(given) == shown


@given(st.text("`<a>/|\n\\ []():javascript!", max_size=60))
def test_no_tag_is_left_outside_a_span_on_one_line(text: str) -> None:
    found = harmless(text)
    # Whatever CommonMark takes for code lies between backticks; a tag before the first is live.
    first = found.split("`")[0]
    assert re.search(r"<[A-Za-z/!?]", first) is None
    assert harmless(found) == found


def test_a_spreadsheet_computes_nothing_of_a_question(tmp_path: Path) -> None:
    ranks = [
        QuestionRanks(id=i, question=q, answers=("d",), first="d", rank=1, base_rank=None)
        for i, q in (("a", '=HYPERLINK("http://x","y")'), ("-1+2", "@SUM(A1)"), ("c", "押金"))
    ]
    path = tmp_path / "ranks.csv"
    write_details(path, ranks)
    rows = list(csv.reader(path.open(encoding="utf-8-sig", newline="")))[1:]
    assert [row[:2] for row in rows] == [
        ["a", '\'=HYPERLINK("http://x","y")'],
        ["'-1+2", "'@SUM(A1)"],
        ["c", "押金"],
    ]
