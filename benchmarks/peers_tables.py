"""The figures of `benchmarks.peers_quality` as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.machine import lines
from benchmarks.peer_files import NOISE


def markdown(found: Mapping[str, Any]) -> str:
    """Return the report: what was measured, the figures, each dim, long texts, the origin."""
    a, rows = found["about"], found["rows"]
    dim = str(a["dims"][0])
    parts = [_head(found), _main(rows, dim)]
    if len(a["dims"]) > 1:
        parts += ["## Vectors cut to fewer dimensions", _dims(rows, a["dims"])]
    long = [row["long"] for row in rows.values() if row["long"]]
    if long:
        parts += [
            f"## {long[0][dim]['texts']:,} texts of 513 to 2,048 tokens, joined from neighbours",
            _long(rows, dims=a["dims"]),
        ]
    if found["left_out"]:
        parts += ["## Left out", "\n".join(f"- {n}: {w}" for n, w in found["left_out"].items())]
    parts += ["## On what", "\n".join(lines(a))]
    return "\n\n".join(parts) + "\n"


def _head(found: Mapping[str, Any]) -> str:
    a = found["about"]
    which = f"{a['questions']:,} questions"
    if a["kind"] == "choosing":
        which += " that choose between variants: not the figures of the files"
    else:
        which += f", none of the {a['choosing']:,} that chose between variants"
    return (
        f"# {a['checkpoint']} on {a['corpus']}\n\n{a['documents']:,} documents, {which}. Errors "
        "are 1 - cosine to torch fp32 over all texts; overlap@10 and MRR@10 are to what fp32 finds "
        f"(MRR@10 {found['mrr_at_10']:.4f}), first with both sides embedded by the file, then with "
        "its questions on fp32's index, differences with their 95 % interval. Padding: how far a "
        "text moves between alone and padded batches up to the limit, the worst of 16 texts."
    )


def _main(rows: Mapping[str, Any], dim: str) -> str:
    head = (
        "",
        "MB",
        "median",
        "p99",
        "worst",
        "overlap@10 both",
        "on fp32's index",
        "MRR@10 difference both",
        "on fp32's index",
        "padding",
    )
    return _table(
        head,
        (
            [
                name,
                f"{row['mb']:,.0f}",
                *_errors(row["errors"][dim]),
                *_ways(row["ways"][dim]),
                _small(row["padding"]["worst"]),
            ]
            for name, row in rows.items()
        ),
    )


def _ways(ways: Mapping[str, Any]) -> list[str]:
    both, queries = ways["both"], ways["queries"]
    return [
        f"{both['overlap']:.3f}",
        f"{queries['overlap']:.3f}",
        *(
            f"{w['mrr']['mean']:+.4f} [{w['mrr']['low']:+.4f}, {w['mrr']['high']:+.4f}]"
            for w in (both, queries)
        ),
    ]


def _dims(rows: Mapping[str, Any], dims: Sequence[int]) -> str:
    head = ["", *(f"{dim}: median, p99, worst | overlap@10 both" for dim in dims)]
    made = []
    for name, row in rows.items():
        cells = [name]
        for dim in map(str, dims):
            cells.append(", ".join(_errors(row["errors"][dim])))
            cells.append(f"{row['ways'][dim]['both']['overlap']:.3f}")
        made.append(cells)
    return _table(" | ".join(head).split(" | "), made)


def _long(rows: Mapping[str, Any], *, dims: Sequence[int]) -> str:
    kept = [dims[0]] + [dim for dim in dims[1:] if dim == 256]
    head = ["", *(f"{dim}: median, p99, worst" for dim in kept)]
    return _table(
        head,
        (
            [name, *(", ".join(_errors(row["long"][str(dim)])) for dim in kept)]
            for name, row in rows.items()
        ),
    )


def _errors(found: Mapping[str, float]) -> list[str]:
    return [_small(found[name]) for name in ("median", "p99", "worst")]


def _small(value: float) -> str:
    """Return two digits, or that it is less than float32's own rounding."""
    return "< 1e-7" if value < 1e-7 else f"{value:.1e}".replace("e-0", "e-")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    made = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    made += [f"| {' | '.join(_noted(row))} |" for row in rows]
    return "\n".join(made)


def _noted(row: Sequence[str]) -> list[str]:
    name = "torch bf16, what users run" if row[0] == NOISE else row[0]
    return [f"**{name}**" if name.startswith("ours") else name, *row[1:]]
