"""What became worse since the last release, as a table for a pull request."""

from exporter.markdown_text import harmless
from exporter.parity.against_baseline import Change, Regression


def render_regression(found: Regression) -> str:
    """Return Markdown: the verdict first, then what became worse, then every figure."""
    lines = [
        f"**{'worse' if found.closed else 'no worse'}** than the last release: {_why(found)}",
        "",
    ]
    if not found.same_checkpoint:
        lines += [
            f"Another checkpoint than the last release's ({found.baseline_name}): each artifact is "
            "compared with its own in torch fp32.",
            "",
        ]
    lines += [
        f"On {found.corpus}. Errors are multiples of torch bf16's own, MRR@10 is the difference to "
        "torch fp32's; a change within noise says nothing.",
        "",
        "| artifact | dim | | before | now | noise | |",
        "| --- | ---: | --- | ---: | ---: | ---: | --- |",
        *(_row(change) for change in found.changes),
        *(f"| {name} | | gone | | | | **worse** |" for name in found.gone),
        *(f"| {name} | | new | | | | |" for name in found.added),
    ]
    return harmless("\n".join(lines) + "\n")


def _why(found: Regression) -> str:
    parts = [f"{change.artifact}'s {change.measure}{_at(change)}" for change in found.worse]
    parts += [f"{name} is gone" for name in found.gone]
    if parts:
        return "; ".join(parts) + "."
    names = dict.fromkeys(change.artifact for change in found.changes)
    return f"{', '.join(names) or 'nothing'} compared."


def _at(change: Change) -> str:
    return "" if change.dim is None else f" at dim {change.dim}"


def _row(change: Change) -> str:
    before, now = (
        value if isinstance(value, str) else f"{value:.4g}" for value in (change.before, change.now)
    )
    noise = "" if change.noise is None else f"{change.noise:.2g}"
    return (
        f"| {change.artifact} | {change.dim or ''} | {change.measure} | {before} | {now} | {noise} "
        f"| {'**worse**' if change.worse else ''} |"
    )
