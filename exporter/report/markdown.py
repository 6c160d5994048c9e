"""parity.md: the report for people who read it on a release page."""

from collections.abc import Iterable, Sequence
from textwrap import wrap as wrapped

from exporter.parity.measured import (
    CosineSummary,
    Difference,
    DimResult,
    Interval,
    Invariance,
    PaddedBatches,
    Power,
    RankFlips,
)
from exporter.parity.results import (
    ArtifactResult,
    NoiseFloor,
    ParityReport,
    Stripping,
    WindowEffect,
)
from exporter.report.advice import recommend, three_sentences, why_refused
from exporter.report.pool_words import MISSED, WAY_NAMES, missed_rows, show_pool, show_size
from exporter.report.words import ENGLISH, Words

LEGEND = """\
Everything is compared with torch fp32, the truth; torch bf16, which users of the checkpoint run,
stands beside it as the unit. Cosines are over all documents and questions; "error" is the median
of 1 - cosine as a multiple of bf16's. overlap@10 is with fp32's ten first documents. Search is
exact; equal scores rank by id. A dim below the full one takes the first components of the full
vector, scaled to length 1. `pass`: in every way of deployment that the recipe judges the whole 95 %
interval of MRR@10's difference lies above minus the margin, and no other limit is broken;
`undecided`: one reaches past the margin; `fail`: a limit is broken."""


def render_markdown(report: ParityReport) -> str:
    """Return the report for people; its first line is the verdict and why."""
    lines = [
        first_line(report),
        "",
        f"# Parity of {report.model_name} on {report.corpus}",
        "",
        f"{show_size(report)}, {report.questions:,} questions. "
        f"Reference: {report.reference}. Query prompt `{report.query_prompt}`, document prompt "
        f"`{report.document_prompt}`.",
        "",
        *(f"- **{s.lead}**: {s.rest}" for s in recommend(report)),
        "",
        *(f"- **{s.lead}**: {s.rest}" for s in three_sentences(report)),
        "",
        *_overview(report),
        "",
        *LEGEND.splitlines(),
        *(["", *wrapped(show_pool(report), 100)] if report.pool else []),
    ]
    for artifact in report.artifacts:
        lines += _artifact(artifact, report)
    lines += _window(report.window_effect)
    lines += _stripping(report.stripping)
    return "\n".join(lines) + "\n"


def first_line(report: ParityReport) -> str:
    """Return the verdict and, where a gate closed, why, in words."""
    closed = [a for a in report.artifacts if a.verdict != "pass"]
    if not closed:
        names = ", ".join(a.name for a in report.artifacts)
        on = "this corpus, judged by a pool of it" if report.pool else "this corpus"
        return f"**pass**: {names} may replace {report.model_name} on {on}."
    listed = "; ".join(f"{a.name} {a.verdict} ({why_refused(a)})" for a in closed)
    return f"**{report.verdict}**: {listed}."


def show_difference(difference: Difference | Interval, *, sign: str = "+") -> str:
    """Return `-0.0012 [-0.0051, +0.0024]`."""
    d = difference
    return f"{d.mean:{sign}.4f} [{d.low:{sign}.4f}, {d.high:{sign}.4f}]"


def show_power(power: Power, _: Words = ENGLISH) -> str:
    """Return what so many questions can and cannot prove, in one sentence."""
    said = _.plural(
        "%(count)s question proves a margin of %(margin)s MRR@10 where nothing is lost on average",
        "%(count)s questions prove a margin of %(margin)s MRR@10 where nothing is lost on average",
        power.questions,
        margin=f"{power.provable_margin:.4f}",
    )
    asked = f"{power.margin:g}"
    if power.provable_margin <= power.margin:
        return said + _("; asked is %(margin)s.", margin=asked)
    needed = power.questions_for_margin
    if not needed:
        return said + _("; for %(margin)s, more than can be asked are needed.", margin=asked)
    return said + _(
        "; for %(margin)s, about %(count)s are needed.", margin=asked, count=f"{needed:,}"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _cosines(c: CosineSummary) -> list[str]:
    return [f"{c.minimum:.6f}", f"{c.p1:.6f}", f"{c.median:.6f}"]


def _overview(report: ParityReport) -> list[str]:
    header = (
        "artifact",
        "MB",
        "dim",
        "cosine min",
        "p1",
        "median",
        "error",
        "MRR@10",
        "fp32",
        "difference [95 %]",
        "to bf16",
        "overlap@10 [95 %]",
        "verdict",
    )
    rows = [_floor_row(floor) for floor in report.noise_floor]
    rows += [_dim_row(artifact, d) for artifact in report.artifacts for d in artifact.dims]
    return _table(header, rows)


def _floor_row(f: NoiseFloor) -> list[str]:
    both = f.deployed("both")
    return [
        "torch bf16 (the unit)",
        "",
        f"{f.dim}",
        *_cosines(f.cosine),
        "1.0 x",
        f"{f.mrr_at_10_bf16:.4f}",
        f"{f.mrr_at_10_fp32:.4f}",
        show_difference(both.mrr_difference),
        "",
        f"{both.overlap_at_10:.4f}",
        "",
    ]


def _dim_row(artifact: ArtifactResult, d: DimResult) -> list[str]:
    both = d.deployed("both")
    return [
        artifact.name,
        f"{artifact.size_bytes / 1e6:.1f}",
        f"{d.dim}",
        *_cosines(d.cosine),
        show_multiple(d.error_over_noise),
        f"{both.metrics.mrr_at_10:.4f}",
        f"{d.reference.mrr_at_10:.4f}",
        show_difference(both.differences.mrr_at_10),
        f"{both.mrr_to_bf16.mean:+.4f}",
        show_difference(both.overlap_at_10, sign=""),
        d.verdict,
    ]


def show_multiple(multiple: float | None) -> str:
    """Return `3.2 x`, or nothing where there is no noise to compare with."""
    return "" if multiple is None else f"{multiple:.1f} x" if multiple >= 0.05 else "< 0.1 x"


def _artifact(artifact: ArtifactResult, report: ParityReport) -> list[str]:
    lines = ["", f"## {artifact.name}: {artifact.verdict}", ""]
    lines += [f"- {reason}" for reason in artifact.reasons]
    if artifact.window_used != report.window_used:
        lines.append(
            f"- built with the sliding window {artifact.window_used}, the reference has "
            f"{report.window_used}: the figures include the effect of the other window"
        )
    if artifact.first_token_difference:
        lines.append(f"- token ids: {artifact.first_token_difference}")
    if artifact.kernels:
        lines.append(f"- kernels: {artifact.kernels}")
    lines.append(f"- manifest {artifact.manifest_sha256}")
    if not artifact.dims:
        return lines
    judged = ", ".join(f"`{WAY_NAMES[way]}`" for way in report.judged_ways)
    lines += ["", f"Ways of deployment, against torch fp32; judged: {judged}.", ""]
    lines += _deployments(artifact, report)
    if rows := missed_rows(artifact):
        lines += ["", "What lies outside the pool can change at most:", "", *_table(MISSED, rows)]
    lines += ["", *(f"- dim {d.dim}: {show_power(d.power)}" for d in artifact.dims)]
    full = artifact.dims[0]
    lines += [
        "",
        f"Rank flips at dim {full.dim}: questions whose first document differs / whose "
        "right answer has another place:",
        "",
        *_flips(full.rank_flips),
    ]
    lines += ["", f"By length at dim {full.dim}:", "", *_lengths(full)]
    if artifact.invariance is not None:
        lines += ["", *_invariance(artifact.invariance)]
    if artifact.padded is not None:
        lines += ["", show_padded(artifact.padded)]
    lines += ["", f"Texts farthest from fp32, at dim {full.dim}:", ""]
    return lines + _table(
        ("cosine", "id", "text"),
        [(f"{w.cosine:.6f}", _cell(w.id), _cell(w.text)) for w in full.cosine.worst],
    )


def _deployments(artifact: ArtifactResult, report: ParityReport) -> list[str]:
    header = (
        "dim",
        "deployment",
        "cosine p1 (bf16)",
        "MRR@10",
        "margin",
        "to bf16",
        "Hit@10",
        "Top-1",
        "nDCG@10",
        "Top-1 lost / won (McNemar p)",
        "overlap@10",
        "bf16's",
        "first place changed",
        "verdict",
    )
    floors = {f.dim: f for f in report.noise_floor}
    rows = [
        [
            f"{d.dim}",
            WAY_NAMES[w.way],
            f"{w.cosine_p1:.6f} ({floors[d.dim].deployed(w.way).cosine_p1:.6f})",
            f"{w.metrics.mrr_at_10:.4f}, {show_difference(w.differences.mrr_at_10)}",
            f"{w.margin:.3g}",
            show_difference(w.mrr_to_bf16),
            *(
                f"{value:.4f}, {show_difference(difference)}"
                for value, difference in (
                    (w.metrics.hit_at_10, w.differences.hit_at_10),
                    (w.metrics.top_1, w.differences.top_1),
                    (w.metrics.ndcg_at_10, w.differences.ndcg_at_10),
                )
            ),
            f"{w.mcnemar.lost} / {w.mcnemar.won} ({w.mcnemar.p_value:.3f})",
            show_difference(w.overlap_at_10, sign=""),
            f"{floors[d.dim].deployed(w.way).overlap_at_10:.4f}",
            f"{w.first_place_changed}",
            w.verdict,
        ]
        for d in artifact.dims
        for w in d.deployments
    ]
    return _table(header, rows)


def _flips(flips: RankFlips) -> list[str]:
    names = [WAY_NAMES.get(name, name) for name in flips.names]
    return _table(
        ("", *names),
        [
            [
                name,
                *(
                    "" if i == j else f"{a} / {b}"
                    for j, (a, b) in enumerate(zip(first, moved, strict=True))
                ),
            ]
            for i, (name, first, moved) in enumerate(
                zip(names, flips.first_place, flips.answer_moved, strict=True)
            )
        ],
    )


def _lengths(d: DimResult) -> list[str]:
    def optional(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return _table(
        ("tokens", "texts", "cosine min", "p1", "median", "questions", "MRR@10", "fp32"),
        [
            [
                b.label,
                f"{b.texts:,}",
                *(_cosines(b.cosine) if b.cosine else ["", "", ""]),
                f"{b.questions:,}",
                optional(b.mrr_at_10),
                optional(b.reference_mrr_at_10),
            ]
            for b in d.lengths
        ],
    )


def _invariance(v: Invariance) -> list[str]:
    def row(what: str, changed: int | None, error: float | None) -> list[str]:
        return [
            what,
            "" if changed is None else f"{changed} of {v.texts}",
            "not applicable" if error is None else f"{error:.1e}",
        ]

    return [
        f"Invariance on {v.texts} texts of up to {v.width} tokens, whose own worst 1 - cosine to "
        f"fp32 is {v.own_error:.1e}:",
        "",
        *_table(
            ("the same text", "vectors not equal to the bit", "worst 1 - cosine"),
            [
                row("alone, and in a call with others", v.as_used_changed, v.as_used_error),
                row(
                    "alone, and in a batch of equal padded length",
                    v.companions_changed,
                    v.companions_error,
                ),
                row("in a batch, and in its reverse", v.order_changed, v.order_error),
                row("not padded, and padded", v.padding_changed, v.padding_error),
                row("padded on the right, and on the left", None, v.left_padding_error),
                row("with two threads, and with one", v.threads_changed, v.threads_error),
            ],
        ),
    ]


def show_padded(p: PaddedBatches, _: Words = ENGLISH) -> str:
    """Return what padded batches of questions give, as a sentence."""
    return _(
        "Questions in padded batches of %(batch)s, as sentence-transformers makes them: MRR@10 "
        "%(difference)s against fp32, overlap@10 %(overlap)s, least cosine to the same question "
        "not padded %(cosine)s: %(verdict)s.",
        batch=p.batch,
        difference=show_difference(p.mrr_difference),
        overlap=f"{p.overlap_at_10:.4f}",
        cosine=f"{p.cosine_minimum:.6f}",
        verdict=_(p.verdict),
    )


def _window(effect: WindowEffect | None) -> list[str]:
    if effect is None:
        return []
    e = effect
    lines = ["", f"## Sliding window {e.saved} as saved, {e.repaired} repaired", ""]
    if e.cosine is None:
        return [*lines, "No text of this corpus is long enough to meet it."]
    return [
        *lines,
        f"{e.texts_affected:,} texts are long enough to meet it. In torch fp32 their cosine "
        f"between the two: minimum {e.cosine.minimum:.6f}, 1st percentile {e.cosine.p1:.6f}, "
        f"median {e.cosine.median:.6f}.",
        "",
        f"MRR@10 {e.mrr_at_10_saved:.4f} as saved, {e.mrr_at_10_repaired:.4f} repaired, difference "
        f"{show_difference(e.mrr_difference)}; repaired queries on an index made as saved "
        f"{show_difference(e.queries_on_saved_index)}.",
    ]


def _stripping(s: Stripping) -> list[str]:
    return [
        "",
        "## White space at the ends of a text",
        "",
        f"{s.texts_affected:,} texts of this corpus begin or end with white space as rendered. "
        f"Below, {s.white_space[0].questions} questions with one character more, in torch fp32, "
        "compared with the question without it: encoded as given (here, in sentence-transformers "
        "6 and in serving runtimes), and stripped (sentence-transformers 5).",
        "",
        *_table(
            (
                "character",
                "given: cosine median",
                "minimum",
                "first place changed",
                "stripped: cosine median",
                "minimum",
                "first place changed",
            ),
            [
                [
                    f"{w.where} {w.character}",
                    f"{w.given_median:.6f}",
                    f"{w.given_minimum:.6f}",
                    f"{w.given_first_place_changed}",
                    f"{w.stripped_median:.6f}",
                    f"{w.stripped_minimum:.6f}",
                    f"{w.stripped_first_place_changed}",
                ]
                for w in s.white_space
            ],
        ),
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
