"""parity.md: the report for people who read it on a release page."""

from collections.abc import Iterable, Sequence
from textwrap import wrap as wrapped

from exporter.markdown_text import harmless
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
from exporter.report.advice import UNPROVEN, recommend, three_sentences, why_refused
from exporter.report.plots import tokens_of
from exporter.report.pool_words import MISSED, WAY_NAMES, missed_rows, show_pool, show_size
from exporter.report.vocabulary_words import show_vocabulary
from exporter.report.words import ENGLISH, Words

LEGEND = (
    "Everything is compared with torch fp32, the truth; torch bf16, which users of the checkpoint "
    'run, stands beside it as the unit. Cosines are over all documents and questions; "error" is '
    "the median of 1 - cosine as a multiple of bf16's. overlap@10 is with fp32's ten first "
    "documents. Search is exact; equal scores rank by id. A dim below the full one takes the first "
    "components of the full vector, scaled to length 1. `pass`: in every way of deployment that "
    "the recipe judges the whole 95 %% interval of MRR@10's difference lies above minus the "
    "margin, and no other limit is broken; `undecided`: one reaches past the margin; `fail`: a "
    "limit is broken."
)


def render_markdown(report: ParityReport, _: Words = ENGLISH) -> str:
    """Return the report for people; its first line is the verdict and why."""
    lines = [
        first_line(report, _),
        "",
        _("# Parity of %(model)s on %(corpus)s", model=report.model_name, corpus=report.corpus),
        "",
        _(
            "%(size)s, %(questions)s questions. Reference: %(reference)s. Query prompt "
            "`%(query)s`, document prompt `%(document)s`.",
            size=show_size(report, _),
            questions=f"{report.questions:,}",
            reference=report.reference,
            query=report.query_prompt,
            document=report.document_prompt,
        ),
        "",
        *(f"- **{s.lead}**: {s.rest}" for s in recommend(report, _)),
        "",
        *(f"- **{s.lead}**: {s.rest}" for s in three_sentences(report, _)),
        "",
        *_overview(report, _),
        "",
        *_wrapped(_(LEGEND), _),
        *(["", *_wrapped(show_pool(report, _), _)] if report.pool else []),
    ]
    for artifact in report.artifacts:
        lines += _artifact(artifact, report, _)
    lines += _window(report.window_effect, _)
    lines += _stripping(report.stripping, _)
    return harmless("\n".join(lines) + "\n")


def _wrapped(text: str, _: Words) -> list[str]:
    """Return lines of 100 characters. Chinese has no spaces to break at: a break would show."""
    return wrapped(text, 100) if _.language == "en" else [text]


def first_line(report: ParityReport, _: Words = ENGLISH) -> str:
    """Return the verdict and, where a gate closed, why, in words."""
    closed = [a for a in report.artifacts if a.verdict != "pass"]
    if not closed:
        values = {"names": ", ".join(a.name for a in report.artifacts), "model": report.model_name}
        if report.pool:
            return _(
                "**pass**: %(names)s may replace %(model)s on this corpus, judged by a pool of it.",
                **values,
            )
        return _("**pass**: %(names)s may replace %(model)s on this corpus.", **values)
    listed = _("; ").join(
        _(
            "%(name)s %(verdict)s (%(why)s)",
            name=a.name,
            verdict=_(a.verdict),
            why=why_refused(a, _),
        )
        for a in closed
    )
    return f"**{_(report.verdict)}**" + _(": ") + listed + _(".")


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


def _overview(report: ParityReport, _: Words) -> list[str]:
    header = (
        _("artifact"),
        "MB",
        _("dim"),
        _("cosine min"),
        "p1",
        _("median"),
        _("error"),
        "MRR@10",
        "fp32",
        _("difference [95 %%]"),
        _("to bf16"),
        "overlap@10 [95 %]",
        _("verdict"),
    )
    rows = [_floor_row(floor, _) for floor in report.noise_floor]
    rows += [_dim_row(artifact, d, _) for artifact in report.artifacts for d in artifact.dims]
    return _table(header, rows)


def _floor_row(f: NoiseFloor, _: Words) -> list[str]:
    both = f.deployed("both")
    return [
        _("torch bf16 (the unit)"),
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


def _dim_row(artifact: ArtifactResult, d: DimResult, _: Words) -> list[str]:
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
        _(d.verdict),
    ]


def show_multiple(multiple: float | None) -> str:
    """Return `3.2 x`, or nothing where there is no noise to compare with."""
    return "" if multiple is None else f"{multiple:.1f} x" if multiple >= 0.05 else "< 0.1 x"


def _artifact(artifact: ArtifactResult, report: ParityReport, _: Words) -> list[str]:
    lines = ["", f"## {artifact.name}" + _(": ") + _(artifact.verdict), ""]
    lines += [f"- {reason}" for reason in artifact.reasons]
    if artifact.unproven:
        lines.append("- " + _(UNPROVEN) + _("."))
    if artifact.window_used != report.window_used:
        window = _(
            "Built with the sliding window %(own)s, the reference has %(reference)s: the figures "
            "include the effect of the other window.",
            own=artifact.window_used,
            reference=report.window_used,
        )
        lines.append(f"- {window}")
    if artifact.first_token_difference:
        lines.append("- " + _("Token ids:") + f" {artifact.first_token_difference}")
    if artifact.vocabulary is not None:
        lines += (f"- {line}" for line in show_vocabulary(artifact.vocabulary, _))
    if artifact.kernels:
        lines.append("- " + _("Kernels: %(kernels)s.", kernels=artifact.kernels))
    lines.append("- " + _("manifest") + f" {artifact.manifest_sha256}")
    if not artifact.dims:
        return lines
    judged = ", ".join(f"`{_(WAY_NAMES[way])}`" for way in report.judged_ways)
    ways = _("Ways of deployment, against torch fp32; judged: %(ways)s.", ways=judged)
    lines += ["", ways, "", *_deployments(artifact, report, _)]
    if rows := missed_rows(artifact, _):
        outside = _("What lies outside the pool can change at most:")
        lines += ["", outside, "", *_table([_(heading) for heading in MISSED], rows)]
    lines += [
        "",
        *(f"- {_('dim')} {d.dim}" + _(": ") + show_power(d.power, _) for d in artifact.dims),
    ]
    full = artifact.dims[0]
    flips = _(
        "Rank flips at dim %(dim)s: questions whose first document differs / whose right answer "
        "has another place:",
        dim=full.dim,
    )
    lines += ["", flips, "", *_flips(full.rank_flips, _)]
    lines += ["", _("By length at dim %(dim)s", dim=full.dim) + _(":"), "", *_lengths(full, _)]
    if artifact.invariance is not None:
        lines += ["", *_invariance(artifact.invariance, _)]
    if artifact.padded is not None:
        lines += ["", show_padded(artifact.padded, _)]
    lines += ["", _("Texts farthest from fp32, at dim %(dim)s:", dim=full.dim), ""]
    return lines + _table(
        (_("cosine"), "id", _("text")),
        [(f"{w.cosine:.6f}", _cell(w.id), _cell(w.text)) for w in full.cosine.worst],
    )


def _deployments(artifact: ArtifactResult, report: ParityReport, _: Words) -> list[str]:
    header = (
        _("dim"),
        _("way"),
        _("cosine p1 (bf16)"),
        "MRR@10",
        _("margin"),
        _("to bf16"),
        "Hit@10",
        "Top-1",
        "nDCG@10",
        _("Top-1 lost / won (McNemar p)"),
        "overlap@10",
        _("bf16's"),
        _("first changed"),
        _("verdict"),
    )
    floors = {f.dim: f for f in report.noise_floor}
    rows = [
        [
            f"{d.dim}",
            _(WAY_NAMES[w.way]),
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
            _(w.verdict),
        ]
        for d in artifact.dims
        for w in d.deployments
    ]
    return _table(header, rows)


def _flips(flips: RankFlips, _: Words) -> list[str]:
    names = [_(WAY_NAMES.get(name, name)) for name in flips.names]
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


def _lengths(d: DimResult, _: Words) -> list[str]:
    def optional(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return _table(
        (
            _("length"),
            _("texts"),
            _("cosine min"),
            "p1",
            _("median"),
            _("questions"),
            "MRR@10",
            "fp32",
        ),
        [
            [
                tokens_of(b.label, _),
                f"{b.texts:,}",
                *(_cosines(b.cosine) if b.cosine else ["", "", ""]),
                f"{b.questions:,}",
                optional(b.mrr_at_10),
                optional(b.reference_mrr_at_10),
            ]
            for b in d.lengths
        ],
    )


def _invariance(v: Invariance, _: Words) -> list[str]:
    def row(what: str, changed: int | None, error: float | None) -> list[str]:
        return [
            _(what),
            ""
            if changed is None
            else _("%(changed)s of %(count)s", changed=changed, count=v.texts),
            _("not applicable") if error is None else f"{error:.1e}",
        ]

    return [
        _(
            "Invariance on %(texts)s texts of up to %(width)s tokens, whose own worst 1 - cosine "
            "to fp32 is %(error)s:",
            texts=v.texts,
            width=v.width,
            error=f"{v.own_error:.1e}",
        ),
        "",
        *_table(
            (_("the same text"), _("not equal to the bit"), _("worst 1 − cosine")),
            [
                row("alone, and in a call with others", v.as_used_changed, v.as_used_error),
                row(
                    "alone, and in a batch of equal padded length",
                    v.companions_changed,
                    v.companions_error,
                ),
                row("in a batch, and in its reverse", v.order_changed, v.order_error),
                row("not padded, and padded", v.padding_changed, v.padding_error),
                row("padded right, and left", None, v.left_padding_error),
                row("two threads, and one", v.threads_changed, v.threads_error),
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


def _window(effect: WindowEffect | None, _: Words) -> list[str]:
    if effect is None:
        return []
    e = effect
    heading = _(
        "Sliding window %(saved)s as saved, %(repaired)s repaired",
        saved=e.saved,
        repaired=e.repaired,
    )
    lines = ["", f"## {heading}", ""]
    if e.cosine is None:
        return [*lines, _("No text of this corpus is long enough to meet it.")]
    return [
        *lines,
        _(
            "%(texts)s texts are long enough to meet it; in torch fp32 their cosine between the "
            "two is %(median)s in the median and %(worst)s at worst. MRR@10 %(saved)s as saved, "
            "%(repaired)s repaired: %(difference)s. Repaired queries on an index made as saved: "
            "%(queries)s.",
            texts=f"{e.texts_affected:,}",
            median=f"{e.cosine.median:.6f}",
            worst=f"{e.cosine.minimum:.6f}",
            saved=f"{e.mrr_at_10_saved:.4f}",
            repaired=f"{e.mrr_at_10_repaired:.4f}",
            difference=show_difference(e.mrr_difference),
            queries=show_difference(e.queries_on_saved_index),
        ),
    ]


def _stripping(s: Stripping, _: Words) -> list[str]:
    return [
        "",
        "## " + _("White space at the ends of a text"),
        "",
        _(
            "%(texts)s texts of this corpus begin or end with white space as rendered. Below, "
            "%(questions)s questions with one character more, in torch fp32, compared with the "
            "question without it: encoded as given (here, in sentence-transformers 6 and in "
            "serving runtimes), and stripped (sentence-transformers 5).",
            texts=f"{s.texts_affected:,}",
            questions=s.white_space[0].questions,
        ),
        "",
        *_table(
            (
                _("character"),
                _("as given: cosine median"),
                _("minimum"),
                _("first changed"),
                _("stripped: cosine median"),
                _("minimum"),
                _("first changed"),
            ),
            [
                [
                    f"{_(w.where)} {w.character}",
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
