"""What `lawvault doctor` finds in a table."""

from typing import Literal

from exporter.records import Record

MOST_IDS = 1000


class RowProblem(Record):
    """Rows of one kind. `ids`: the first of them, at most `MOST_IDS`.

    `rows` of `asked` have it: of all rows for what needs no model, else of those compared; at least
    so many for `mistaken`, which shows only where it moves a vector farther than torch bf16 does. A
    `note` is something to know; a `problem` makes search worse.
    """

    kind: str
    severity: Literal["problem", "note"]
    said: str
    remedy: str
    rows: int
    asked: int
    ids: tuple[str, ...]


class Compared(Record):
    """Rows made again from their texts, and their cosines to torch fp32 of this checkpoint.

    `limit`: below it a row does not hold the vector of its text. `noise`: least cosine of torch
    bf16 itself on these texts.
    """

    rows: int
    document_prompt: str
    median: float
    least: float
    limit: float
    noise: float
    stripped: int
    """Rows that fit only with the white space at both ends of their text stripped."""


class Diagnosis(Record):
    """A table looked at, row by row. `compared` is None where it holds no texts."""

    tool_version: str
    table: str
    rows: int
    dim: int
    model_name: str
    compared: Compared | None
    problems: tuple[RowProblem, ...]

    @property
    def is_sound(self) -> bool:
        """Return whether nothing but notes was found."""
        return all(found.severity == "note" for found in self.problems)
