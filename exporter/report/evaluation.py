"""evaluation.md, as a model card has it, evaluation.json, and the ranks of every question."""

import csv
from collections.abc import Sequence
from pathlib import Path

from exporter.errors import BadInput
from exporter.evaluation.table import Evaluation, QuestionRanks
from exporter.markdown_text import harmless
from exporter.parity.measured import Difference, Interval
from exporter.records import write_json

JSON_NAME, MARKDOWN_NAME = "evaluation.json", "evaluation.md"
DETAILS_SUFFIXES = (".csv", ".json")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""By what a spreadsheet takes a cell for something to compute (OWASP, CSV injection)."""
SHOWN_CASES = 10


def metric_rows(found: Evaluation) -> list[list[str]]:
    """Return heading and rows of the card's table: Hit@10, Top-1, MRR@10."""
    base, model, differences = found.base, found.model, found.differences
    rows = [["", *([base.name] if base else []), model.name]]
    if base is not None:
        rows[0].append("difference [95 %]")
    for label, name in (("Hit@10", "hit_at_10"), ("Top-1", "top_1"), ("MRR@10", "mrr_at_10")):
        share = name != "mrr_at_10"
        row = [label]
        if base is not None:
            row.append(_value(getattr(base, name), share=share))
        row.append(_value(getattr(model, name), share=share))
        if differences is not None:
            row.append(_difference(getattr(differences, name), share=share))
        rows.append(row)
    return rows


def cases(found: Evaluation) -> list[QuestionRanks]:
    """Return the questions whose answer moved most between the two, by reciprocal rank."""

    def moved(case: QuestionRanks) -> float:
        return abs(1 / (case.rank or 1e9) - 1 / (case.base_rank or 1e9))

    changed = [case for case in found.ranks if case.rank != case.base_rank]
    return sorted(changed, key=lambda case: (-moved(case), case.id))[:SHOWN_CASES]


def show_rank(rank: int | None) -> str:
    """Return `3`, or `not in ten`."""
    return "not in ten" if rank is None else str(rank)


def render_evaluation(found: Evaluation) -> str:
    """Return the report for people."""
    rows = metric_rows(found)
    lines = [f"# {found.model.name} on {found.corpus}", ""]
    lines += [_line(rows[0]), _line(["---"] * len(rows[0])), *(_line(row) for row in rows[1:])]
    lines += ["", describe(found)]
    if found.base is not None and (shown := cases(found)):
        lines += ["", "| question | base rank | rank |", "| --- | --- | --- |"]
        lines += [
            _line([" ".join(c.question.split()), show_rank(c.base_rank), show_rank(c.rank)])
            for c in shown
        ]
    return "\n".join(lines) + "\n"


def describe(found: Evaluation) -> str:
    """Return what was measured, in a sentence or three."""
    text = (
        f"{found.documents:,} documents, {found.questions:,} questions; torch bf16, {found.dim} "
        "dimensions, exact search; 95 % intervals over the questions. Query prompt "
        f"`{found.model.query_prompt}`, document prompt `{found.model.document_prompt}`."
    )
    base = found.base
    if base is not None and (base.query_prompt, base.document_prompt) != (
        found.model.query_prompt,
        found.model.document_prompt,
    ):
        text += (
            f" The base has its own: query `{base.query_prompt}`, document "
            f"`{base.document_prompt}`."
        )
    if found.mcnemar is not None:
        m = found.mcnemar
        text += f" First place: {m.won} questions won, {m.lost} lost"
        text += f" (McNemar's exact p {m.p_value:.2g})."
    if found.table is not None and found.origin is not None:
        text += f" Documents' vectors are those of the table {found.table} ({found.origin.status})."
    return text


def write_evaluation(folder: Path, found: Evaluation) -> None:
    """Write both files into `folder`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (MARKDOWN_NAME + ".partial")
    temporary.write_text(harmless(render_evaluation(found)), encoding="utf-8")
    temporary.replace(folder / MARKDOWN_NAME)
    write_json(folder / JSON_NAME, found)


def check_details(path: Path) -> None:
    """Raise BadInput where the ranks cannot be written, before any long step."""
    if path.suffix.lower() not in DETAILS_SUFFIXES:
        raise BadInput(f"--details '{path}': name a .csv or .json file, or - for the terminal")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadInput(f"--details '{path}' cannot be written: no folder to hold it")


def write_details(path: Path, ranks: Sequence[QuestionRanks]) -> None:
    """Write each question with its ranks, as CSV or JSON by the suffix of `path`."""
    temporary = path.with_name(path.name + ".partial")
    if path.suffix.lower() == ".json":
        write_json(path, [rank.model_dump(mode="json") for rank in ranks])
        return
    # With a byte order mark, without which a spreadsheet takes Chinese for another encoding.
    with temporary.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "question", "answers", "first", "rank", "base_rank"])
        for r in ranks:
            texts = [r.id, r.question, " ".join(r.answers), r.first]
            writer.writerow([*map(_cell, texts), r.rank or "", r.base_rank or ""])
    temporary.replace(path)


def _cell(text: str) -> str:
    """Return text that a spreadsheet shows and does not compute: an apostrophe says so to it."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _value(interval: Interval, *, share: bool) -> str:
    if share:
        return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _difference(d: Difference, *, share: bool) -> str:
    if share:
        return f"{100 * d.mean:+.1f} points [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
    return f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
