"""The texts that a model is run on to measure it: bundled, or a user's own."""

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from exporter.checkpoint.records import Prompts
from exporter.errors import BadInput

BUNDLED_NAME = "recipes/calibration/statutes.txt"
REPOSITORY = Path(__file__).resolve().parents[2]
# A handful of texts never meets the tail of a range; users are better served by the bundled ones.
FEWEST = 16
SHORTEST = 4


def read_calibration(path: Path | None) -> list[str]:
    """Return the calibration texts of `path`, one a line, or the bundled ones for None.

    Blank lines are skipped, ends of lines stripped; no prompt is applied. Raises BadInput for a
    file that is missing, empty, not UTF-8, or holds fewer than 16 different texts.
    """
    file = _bundled() if path is None else path
    if not file.is_file():
        raise BadInput(
            f"no such calibration file: '{file}'; pass --calibration FILE, one text a line"
        )
    raw = file.read_bytes()
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadInput(
            f"calibration file '{file}' line {line}: not valid UTF-8; save it as UTF-8"
        ) from None
    # Not splitlines: U+2028 and form feeds are part of a text.
    texts = [line.strip("\r") for line in content.split("\n") if line.strip()]
    if not texts:
        raise BadInput(
            f"calibration file '{file}' is empty; write at least {FEWEST} texts, one a line"
        )
    distinct = len(set(texts))
    if distinct < FEWEST:
        raise BadInput(
            f"calibration file '{file}' holds {distinct} different texts, too few to measure a "
            f"range; write at least {FEWEST}, one a line"
        )
    return texts


def prompted(texts: Sequence[str], prompts: Prompts) -> list[str]:
    """Return the texts as a model meets them: by turns as a document and as a query.

    Documents get no title. Every second text each way costs one run and covers both prompts.
    """
    return [
        prompts.render_query(text) if i % 2 else prompts.render_document(text, title="")
        for i, text in enumerate(texts)
    ]


def calibration_inputs(texts: Sequence[str], prompts: Prompts) -> list[str]:
    """Return what a model is measured on: the texts as `prompted`, and a few of their beginnings.

    One to four characters, as short questions go: attention over so little ranges farther.
    """
    short = [text[: 1 + i % SHORTEST] for i, text in enumerate(texts[:: 2 * SHORTEST])]
    return prompted(texts, prompts) + short


def calibration_sha256(texts: Sequence[str]) -> str:
    """Return the hex SHA-256 of what was calibrated on, for the manifest."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _bundled() -> Path:
    """Return the bundled file: beside the package in a working copy, else where pip put it."""
    beside = REPOSITORY / BUNDLED_NAME
    if beside.is_file():
        return beside
    try:
        installed = metadata.files("lawvault-exporter") or []
    except metadata.PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.as_posix().endswith(BUNDLED_NAME):
            return Path(str(entry.locate())).resolve()
    raise BadInput("the bundled calibration texts are not installed; pass --calibration FILE")
