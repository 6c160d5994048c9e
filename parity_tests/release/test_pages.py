"""parity.html, index.html and the sentences on them, from a real release."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("onnxruntime")

from exporter.checkpoint.contents import Checkpoint
from exporter.manifest import read_manifest
from exporter.parity.measured import Verdict
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.recipe import Way
from exporter.report.advice import advise, recommend, three_sentences
from exporter.report.html import count_sentence, render_html
from exporter.report.plots import NARROW, WIDE, size_against_mrr
from exporter.report.words import ENGLISH
from exporter.report.write import read_report
from parity_tests.release.small_release import LIMIT, RECIPE, release

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Every tag with its attributes; unbalanced tags fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words += data

    def links(self) -> list[str]:
        return [str(a["href"]) for tag, a in self.tags if tag == "a"]


@pytest.fixture(scope="module")
def report(released: Path) -> ParityReport:
    return read_report(released / "parity.json")


def altered(
    report: ParityReport,
    name: str,
    *,
    verdict: Verdict = "pass",
    ways: dict[Way, Verdict] | None = None,
    overlap: float | None = None,
) -> ParityReport:
    """The report with another verdict, other verdicts by way of deployment, or another overlap, for
    one artifact."""

    def changed(a: ArtifactResult) -> ArtifactResult:
        if a.name != name:
            return a
        dims = tuple(
            d.model_copy(
                update={
                    "deployments": tuple(
                        w.model_copy(
                            update={
                                "verdict": (ways or {}).get(w.way, w.verdict),
                                "overlap_at_10": w.overlap_at_10
                                if overlap is None
                                else w.overlap_at_10.model_copy(update={"mean": overlap}),
                            }
                        )
                        for w in d.deployments
                    )
                }
            )
            for d in a.dims
        )
        reasons = () if verdict == "pass" else ("cosine 1st percentile 0.9 is under 0.995",)
        return a.model_copy(update={"dims": dims, "verdict": verdict, "reasons": reasons})

    artifacts = tuple(map(changed, report.artifacts))
    return report.model_copy(update={"artifacts": artifacts, "verdict": verdict})


ALL: dict[Way, Verdict] = {"both": "pass", "queries": "pass", "documents": "pass"}


@pytest.fixture(scope="module")
def good(report: ParityReport) -> ParityReport:
    """Both artifacts pass in every way, and find what torch fp32 finds."""
    one = altered(report, "onnx-int8", ways=ALL, overlap=1.0)
    return altered(one, "gguf-q8_0", ways=ALL, overlap=1.0)


def test_a_release_leaves_a_page_whose_links_all_lead_somewhere(released: Path) -> None:
    page = Page((released / "index.html").read_text("utf-8"))
    links = page.links()
    assert {"parity.html", "parity.md", "parity.json"} <= set(links)
    assert "packages/ollama-q8_0/README.md" in links
    for link in links:
        assert not urlparse(link).scheme, link
        assert (released / unquote(link)).is_file(), link
    assert "Not measured" in page.words
    full = Page((released / "parity.html").read_text("utf-8"))
    anchors = {a.get("id") for _, a in full.tags}
    assert {link.removeprefix("#") for link in full.links()} <= anchors


@pytest.mark.parametrize("name", ["parity.html", "index.html"])
def test_a_page_fetches_nothing_and_runs_nothing(released: Path, name: str) -> None:
    text = (released / name).read_text("utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed"}
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")], (tag, attributes)
        assert tag != "link" or attributes["href"] == "data:,"
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text
    assert str(released) not in text


def test_the_verdict_stands_above_everything_else_in_one_sentence(report: ParityReport) -> None:
    words = Page(render_html(report)).words
    sentence = count_sentence(report)
    assert sentence == "Both artifacts passed every limit against tiny on the corpus tiny-corpus."
    assert words.index(sentence) < words.index("Artifacts by size and quality")
    failed = altered(report, "onnx-int8", verdict="fail")
    words = Page(render_html(failed)).words
    assert "1 of 2 artifacts passed against tiny on the corpus tiny-corpus." in words
    assert "onnx-int8: its vectors lie too far from the original's." in words
    assert words.index("too far") < words.index("cosine 1st percentile 0.9 is under 0.995")


def test_the_same_report_gives_the_same_bytes(report: ParityReport, released: Path) -> None:
    assert render_html(report) == (released / "parity.html").read_text("utf-8")
    assert render_html(read_report(released / "parity.json")) == render_html(report)


HOSTILE = '</p><script>document.title="run"</script><img src=x onerror="document.title=1">&amp;'


def hostile(report: ParityReport) -> ParityReport:
    """A report of a corpus and a model whose every text is markup."""
    return report.model_copy(
        update={
            "model_name": HOSTILE,
            "corpus": HOSTILE,
            "query_prompt": HOSTILE + "{text}",
            "articles": {
                i: a.model_copy(update={"title": HOSTILE, "text": HOSTILE + "押金"})
                for i, a in report.articles.items()
            },
            "asked": {i: q.model_copy(update={"text": HOSTILE}) for i, q in report.asked.items()},
            "artifacts": tuple(
                a.model_copy(update={"name": HOSTILE, "reasons": (HOSTILE,), "verdict": "fail"})
                for a in report.artifacts
            ),
        }
    )


def test_a_document_that_holds_markup_is_shown_as_text(report: ParityReport) -> None:
    page = Page(render_html(hostile(report)))
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert page.words.count(HOSTILE) > 20


def test_chinese_texts_are_marked_as_chinese(report: ParityReport) -> None:
    page = Page(render_html(report))
    marked = [tag for tag, a in page.tags if a.get("lang") == "zh"]
    assert len(marked) > 10
    assert ("html", {"lang": "en"}) in page.tags


def test_changed_answers_and_worst_texts_stand_beside_their_articles(report: ParityReport) -> None:
    words = Page(render_html(report)).words
    for artifact in report.artifacts:
        d = artifact.dims[0]
        for w in d.deployments:
            assert len(w.changed_answers) == min(8, w.first_place_changed)
            for change in w.changed_answers:
                assert change.our_first != change.reference_first
                assert {change.our_first, change.reference_first} <= set(report.articles)
                if w.way != "documents":
                    assert report.asked[change.question].text in words
                    assert report.articles[change.our_first].text in words
        for worst in d.cosine.worst[:5]:
            known = report.articles if worst.kind == "document" else report.asked
            assert known[worst.id].text in words
        assert all(not w.changed_answers for x in artifact.dims[1:] for w in x.deployments)


def test_the_parts_of_an_artifact_add_up_to_its_size(released: Path, report: ParityReport) -> None:
    for artifact in report.artifacts:
        assert sum(p.size_bytes for p in artifact.parts) == artifact.size_bytes
        assert artifact.size_bytes == read_manifest(released / artifact.name).size_bytes
        assert {"embedding table", "attention", "MLP", "head", "norms"} <= {
            p.part for p in artifact.parts
        }


def test_histograms_hold_every_text(report: ParityReport) -> None:
    texts = report.documents + report.questions
    for artifact in report.artifacts:
        for d in artifact.dims:
            assert sum(d.errors.counts) == texts
    assert all(sum(f.errors.counts) == texts for f in report.noise_floor)


def test_an_artifact_without_vectors_still_gets_a_page(report: ParityReport) -> None:
    nothing = [
        a.model_copy(
            update={
                "dims": (),
                "invariance": None,
                "verdict": "fail",
                "reasons": ("vectors are not finite",),
            }
        )
        for a in report.artifacts
    ]
    for artifacts in ((report.artifacts[0], nothing[1]), tuple(nothing)):
        broken = report.model_copy(update={"artifacts": artifacts, "verdict": "fail"})
        words = Page(render_html(broken)).words
        assert "no usable vectors" in words
        assert "vectors are not finite" in words


@pytest.mark.parametrize(
    ("verdict", "ways", "group"),
    [
        ("pass", {}, "existing_index"),
        ("pass", {"both": "undecided"}, "existing_index"),
        ("pass", {"queries": "undecided"}, "new_index"),
        ("pass", {"queries": "fail"}, "new_index"),
        ("pass", {"queries": "fail", "both": "fail"}, "refused"),
        ("undecided", {}, "refused"),
        ("fail", {}, "refused"),
    ],
)
def test_what_may_be_done_follows_from_the_verdict_of_each_way(
    good: ParityReport, verdict: Verdict, ways: dict[Way, Verdict], group: str
) -> None:
    assert advise(good).refused == ()
    advice = advise(altered(good, "onnx-int8", verdict=verdict, ways={**ALL, **ways}))
    for name in ("existing_index", "new_index", "refused"):
        assert ("onnx-int8" in getattr(advice, name)) == (name == group), name
    assert "gguf-q8_0" in advice.existing_index


def test_the_three_sentences_name_files_and_reasons(good: ParityReport) -> None:
    existing, new, refused = three_sentences(good)
    by_size = [a.name for a in sorted(good.artifacts, key=lambda a: a.size_bytes)]
    assert existing.rest.startswith(f"{by_size[0]} and {by_size[1]} may replace tiny for questions")
    assert new.rest == "all of these may embed documents and questions alike."
    assert refused.rest == "nothing to warn of: every file of this report passed."
    own = altered(good, "gguf-q8_0", ways={**ALL, "queries": "undecided"})
    rest = three_sentences(own)[1].rest
    assert rest.startswith("gguf-q8_0 is proven only on an index of its own: embed")
    none = altered(altered(good, "gguf-q8_0", verdict="fail"), "onnx-int8", verdict="undecided")
    existing, new, refused = three_sentences(none)
    assert existing.rest.startswith("no file here may replace tiny")
    assert new.rest == "no file here is proven on an index of its own."
    assert "gguf-q8_0: its vectors lie too far from the original's" in refused.rest
    assert "onnx-int8: its vectors lie too far from the original's" in refused.rest


def test_each_use_gets_one_recommendation(good: ParityReport) -> None:
    by_use = {s.lead: s.rest for s in recommend(good)}
    assert list(by_use) == ["Ollama, llama.cpp", "Python, servers, phones (ONNX Runtime)"]
    assert re.match(
        r"take gguf-q8_0 \([\d.]+ MB\); its questions also search the index you have\.$",
        by_use["Ollama, llama.cpp"],
    )
    own = altered(good, "gguf-q8_0", ways={**ALL, "queries": "undecided"})
    assert "embed all documents again with it" in recommend(own)[0].rest
    none = altered(good, "gguf-q8_0", verdict="fail")
    assert recommend(none)[0].rest == "no file is proven: gguf-q8_0 failed."
    # A smaller one that loses more is named beside the one that is as good as torch bf16.
    int8 = next(a for a in good.artifacts if a.name == "onnx-int8")
    small = altered(
        good.model_copy(
            update={
                "artifacts": (
                    *good.artifacts,
                    int8.model_copy(update={"name": "onnx-q4", "size_bytes": int8.size_bytes // 2}),
                )
            }
        ),
        "onnx-q4",
        overlap=0.8,
    )
    rest = recommend(small)[1].rest
    assert rest.startswith("take onnx-int8 (")
    assert re.search(r"Smaller: onnx-q4 \([\d.]+ MB\), which finds 80% of the same first ten", rest)


def test_labels_of_a_crowded_plot_do_not_cover_each_other(report: ParityReport) -> None:
    base = report.artifacts[0]
    crowd = tuple(
        base.model_copy(update={"name": f"onnx-a{i}", "size_bytes": base.size_bytes + 4_000 * i})
        for i in range(5)
    )
    full = report.model_copy(update={"artifacts": crowd})
    for width in (WIDE, NARROW):
        text = size_against_mrr(full, width, ENGLISH)
        boxes = [
            (float(x) - 6.6 * len(word) / 2, float(y) - 10, 6.6 * len(word), 12.0)
            for x, y, word in re.findall(
                r'class="label onnx" x="([\d.-]+)" y="([\d.-]+)"[^>]*>([^<]+)<', text
            )
        ]
        assert len(boxes) == 5
        for i, a in enumerate(boxes):
            assert a[0] >= 0
            assert a[0] + a[2] <= width
            for b in boxes[:i]:
                apart = a[0] >= b[0] + b[2] or b[0] >= a[0] + a[2]
                assert apart or abs(a[1] - b[1]) >= 12, (a, b)


def test_a_closed_release_says_so_on_its_page(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(released, tmp_path / "out"))
    strict = {**LIMIT, "cosine_p1_min": 0.9999999}
    recipe = RECIPE.model_copy(
        update={"limits": {**RECIPE.limits, "8bit": type(RECIPE.limits["8bit"])(**strict)}}
    )
    outcome, _ = release(tiny, tiny_corpus, output, recipe)
    assert outcome.closed
    page = Page((output / "index.html").read_text("utf-8"))
    assert "this release should not go out" in page.words
    assert "no file here may replace tiny" in page.words
    assert "Required and not passed: onnx-int8, gguf-q8_0" in page.words
    assert not any("packages" in link for link in page.links())


def test_speed_stands_on_the_page_only_for_the_bytes_that_were_timed(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    from exporter.records import write_json
    from exporter.release.bench import BenchReport, run_bench

    output = Path(shutil.copytree(released, tmp_path / "out"))
    timed = run_bench([output / "onnx-int8", output / "gguf-q8_0"], rounds=1, threads=1)
    stale: dict[str, Any] = timed.model_dump()
    stale["results"][1]["manifest_sha256"] = "0" * 64
    write_json(output / "bench.json", BenchReport.model_validate(stale))
    release(tiny, tiny_corpus, output)
    words = Page((output / "index.html").read_text("utf-8")).words
    assert f"{timed.results[0].timings[0].tokens_per_second:,.0f}" in words
    assert "Not measured since it changed: gguf-q8_0." in words


WIDTHS = ((1280, 900), (390, 844))
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Any:
    """A real Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("which", ["parity", "index", "hostile"])
def test_pages_fit_a_desktop_and_a_phone_in_a_real_browser(
    browser: Any,
    released: Path,
    report: ParityReport,
    tmp_path: Path,
    which: str,
    size: tuple[int, int],
    scheme: Scheme,
) -> None:
    path = released / f"{which}.html"
    if which == "hostile":
        path = tmp_path / "hostile.html"
        path.write_text(render_html(hostile(report)), "utf-8")
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    wide = page.evaluate(
        """() => [...document.querySelectorAll('p, li, h1, h2, h3, svg, .article, .banner')]
            .filter(e => e.offsetParent !== null || e.tagName === 'svg')
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1
                         && !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 90))"""
    )
    assert wide == []
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", shown)[:3])) > 384
    assert light == (scheme == "light")
    assert page.title() != "run"
    assert said == []
    assert asked == [path.as_uri()]
    page.close()
