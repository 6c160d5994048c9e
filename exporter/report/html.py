"""parity.html: the report as one page that needs nothing but itself."""

import re
from functools import partial
from typing import Any

import jinja2
from markupsafe import Markup

from exporter.format import all_formats
from exporter.parity.measured import Difference, Interval
from exporter.parity.results import ParityReport
from exporter.parity.ways import dims_of
from exporter.report.advice import UNPROVEN, megabytes, recommend, three_sentences, why_refused
from exporter.report.markdown import show_multiple, show_padded, show_power
from exporter.report.plots import (
    Plot,
    both_widths,
    error_distribution,
    errors_by_length,
    part_names,
    size_against_mrr,
    sizes_of_parts,
    tokens_of,
)
from exporter.report.pool_words import WAY_NAMES, show_pool, show_size
from exporter.report.vocabulary_words import show_vocabulary
from exporter.report.words import ENGLISH, Words
from exporter.templates import environment

HAN = re.compile(r"[\u2e80-\u2fdf\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
SIDES = {"both": "both its own", "queries": "its queries", "documents": "its index"}
"""Ways of deployment where there is little room: what is the artifact's, the rest is fp32's."""
VERDICT_SIGNS = {"pass": "✓", "fail": "✕", "undecided": "?"}


def render_html(report: ParityReport, words: Words = ENGLISH) -> str:
    """Return parity.html. Same report, same bytes; texts of the corpus are escaped."""
    judged = [a for a in report.artifacts if a.dims]
    return (
        page_environment(words)
        .get_template("parity.html.j2")
        .render(
            report=report,
            judged=judged,
            verdict=count_sentence(report, words),
            recommended=recommend(report, words),
            sentences=three_sentences(report, words),
            dims=[f.dim for f in report.noise_floor],
            plots=_plots(report, words) if judged else [],
            legend=part_names(report, words),
            largest=max(a.size_bytes for a in report.artifacts),
            pool=show_pool(report, words),
            size=show_size(report, words),
        )
    )


def page_environment(words: Words = ENGLISH) -> jinja2.Environment:
    """Return jinja's environment for pages: everything escaped, unknown names refused."""
    pages = environment(
        __package__,
        escape=True,
        messages=words,
        page_language={"en": "en", "zh": "zh-CN"}[words.language],
        unproven=UNPROVEN,
        ways={way: words(name) for way, name in WAY_NAMES.items()},
        sides={way: words(name) for way, name in SIDES.items()},
        verdict_words={word: words(word) for word in VERDICT_SIGNS},
        refused=partial(why_refused, _=words),
        length_words=partial(tokens_of, _=words),
        signs=VERDICT_SIGNS,
        formats=all_formats(),
        dims_of=dims_of,
    )
    pages.filters.update(
        mb=megabytes,
        signed=signed,
        multiple=show_multiple,
        power=partial(show_power, _=words),
        padded=partial(show_padded, _=words),
        vocabulary=partial(show_vocabulary, _=words),
        code=lambda text: Markup("<code>{}</code>").format(text),
        lang=language,
        mean_of=lambda interval: f"{interval.mean:.3f}",
        error=lambda cosine: f"{1 - cosine:.1e}",
    )
    return pages


def language(text: str) -> Markup:
    """Return a lang attribute for a text with Chinese characters, so that a browser takes their
    Chinese forms; nothing for another text."""
    return Markup(' lang="zh"') if HAN.search(text) else Markup("")


def signed(difference: Difference | Interval) -> Markup:
    """Return `+0.0012 [−0.0033, +0.0051]` with true minus signs that do not break apart."""
    d = difference
    mean, low, high = (f"{v:+.4f}".replace("-", "−") for v in (d.mean, d.low, d.high))
    return Markup('<span class="nobreak">{}</span> <span class="interval">[{}, {}]</span>').format(
        mean, low, high
    )


def count_sentence(report: ParityReport, _: Words = ENGLISH) -> str:
    """Return one sentence: how many artifacts passed."""
    passed = sum(a.verdict == "pass" for a in report.artifacts)
    count = len(report.artifacts)
    where = {"model": report.model_name, "corpus": report.corpus}
    if passed == count == 2:
        return _(
            "Both artifacts passed every limit against %(model)s on the corpus %(corpus)s.", **where
        )
    if passed == count:
        return _.plural(
            "The artifact passed every limit against %(model)s on the corpus %(corpus)s.",
            "All %(count)s artifacts passed every limit against %(model)s on the corpus "
            "%(corpus)s.",
            count,
            **where,
        )
    if passed:
        return _(
            "%(passed)s of %(count)s artifacts passed against %(model)s on the corpus %(corpus)s.",
            passed=passed,
            count=count,
            **where,
        )
    return _.plural(
        "The artifact did not pass against %(model)s on the corpus %(corpus)s.",
        "None of %(count)s artifacts passed against %(model)s on the corpus %(corpus)s.",
        count,
        **where,
    )


def _plots(report: ParityReport, _: Words) -> list[dict[str, Any]]:
    dim = max(d.dim for a in report.artifacts for d in a.dims)
    wanted: list[tuple[str, Plot, str]] = [
        (
            _("Size against MRR@10"),
            size_against_mrr,
            _(
                "Its queries on its index, dim %(dim)s. The line is the 95 %% interval of the "
                "difference to torch fp32 (dashed); it must stay above the red mark, the margin.",
                dim=dim,
            ),
        ),
        (
            _("Distance from fp32, over all texts"),
            error_distribution,
            _(
                "Dim %(dim)s. Left is better. Upright line: the 1st percentile of the cosine; red: "
                "its limit. torch bf16 is what a user of the checkpoint runs.",
                dim=dim,
            ),
        ),
        (
            _("Distance from fp32, by length"),
            errors_by_length,
            _(
                "Dim %(dim)s. Dot: median; thick line: to the 1st percentile; thin line: to the "
                "worst text.",
                dim=dim,
            ),
        ),
        (
            _("Size of each part"),
            sizes_of_parts,
            _("Bytes of each part, on one scale, from the tensors in each manifest."),
        ),
    ]
    return [
        {
            "title": title,
            "caption": caption,
            "legend": plot is sizes_of_parts,
            "drawings": [(name, Markup(svg)) for name, svg in both_widths(plot, report, _)],
        }
        for title, plot, caption in wanted
    ]
