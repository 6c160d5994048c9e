"""index.html of a package for transformers.js, used in a real Chromium."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("playwright.sync_api", reason="pip install playwright")

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import MissingDependency
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.packages.assemble import Judged
from exporter.packages.transformersjs.chromium import find_chromium, open_chromium, serve
from parity_tests.conftest import REPOSITORY
from parity_tests.packaging import package_transformersjs

try:
    find_chromium()
except MissingDependency as error:
    pytest.skip(str(error), allow_module_level=True)

QUESTION = "房东一直拖着不退押金怎么办"
READY_MS = 120_000


@pytest.fixture(scope="module")
def address(web_package: Path) -> Iterator[str]:
    with serve({"/": web_package}) as url:
        yield f"{url}/index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_chromium() as opened:
        yield opened


def wait(page: Any, state: str = "ready") -> None:
    page.wait_for_selector("body[data-state=ready], body[data-state=stopped]", timeout=READY_MS)
    assert page.evaluate("document.body.dataset.state") == state, page.text_content("#problem")


def ask(page: Any, question: str) -> list[str]:
    """Type a question and return the ids of the answers."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_selector("#results li", timeout=READY_MS)
    found: list[str] = page.eval_on_selector_all("#results li", "all => all.map(e => e.dataset.id)")
    return found


def best(encoder: OnnxEncoder, articles: list[dict[str, str]], checkpoint: Checkpoint) -> list[str]:
    """Return the ids of the ten best articles by onnxruntime."""
    prompts = checkpoint.prompts
    texts = [prompts.render_document(a["text"], title=a["title"]) for a in articles]
    scores = encoder.encode(texts) @ encoder.encode([prompts.render_query(QUESTION)])[0]
    order = np.lexsort((np.arange(len(articles)), -scores))[:10]
    return [articles[i]["_id"] for i in order]


def articles_of(package: Path) -> list[dict[str, str]]:
    lines = (package / "articles.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("size", "scheme", "locale"),
    [
        ((390, 844), "light", "en-US"),
        pytest.param((1280, 900), "dark", "zh-CN", marks=pytest.mark.slow),
    ],
)
def test_a_question_gets_the_ten_articles_that_onnxruntime_finds(
    browser: Any,
    address: str,
    web_package: Path,
    web_artifacts: list[Judged],
    miniature: Checkpoint,
    tmp_path: Path,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
    locale: str,
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale=locale
    )
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    answers = ask(page, QUESTION)  # typed while the model loads: held until it is ready
    wait(page)
    encoder = OnnxEncoder(web_artifacts[1].folder, threads=1)
    assert answers == best(encoder, articles_of(web_package), miniature)
    timing = page.text_content("#timing")
    assert "onnx-int8-web" in timing
    assert ("ms" in timing) == (locale == "en-US")
    assert ("毫秒" in timing) == (locale == "zh-CN")
    assert page.text_content("html h1") == ("查找法条" if locale == "zh-CN" else "Find the article")
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    short = page.evaluate(
        "[...document.querySelectorAll('button, select, input')]"
        ".filter(e => e.type !== 'file' && e.getBoundingClientRect().height < 40).length"
    )
    assert short == 0  # a finger hits them
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, shown.strip("rgb()").split(",")[:3])) > 384) == (scheme == "light")
    origin = address.rsplit("/", 1)[0]
    assert all(url.startswith(origin) for url in asked), asked
    assert said == []
    page.screenshot(path=tmp_path / f"{size[0]}.png", full_page=True)

    # Nothing was embedded but the question: the vectors came with the page.
    assert "600" in page.text_content("#kept")
    stored = page.evaluate(
        """() => new Promise((resolve) => {
          const request = indexedDB.open("lawvault-vectors");
          request.onsuccess = () => {
            const all = request.result.transaction("vectors").objectStore("vectors").count();
            all.onsuccess = () => resolve(all.result);
          };
        })"""
    )
    assert stored == 0
    page.reload()
    wait(page)
    assert ask(page, QUESTION) == answers
    context.close()


def test_articles_of_ones_own_are_searched_and_a_bad_line_is_named(
    browser: Any, address: str, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    texts = ("<b>押金</b>应当在七日内退还。", "业主大会选举业主委员会。", "工资应当按月支付。")
    rows = [{"_id": f"a{i}", "title": f"第{i}条", "text": text} for i, text in enumerate(texts)]
    good.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    bad.write_text('{"_id": "a", "text": "一"}\n{"_id": "b"}\n', "utf-8")
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-state]")
    page.click("summary")
    page.set_input_files("#own", bad)
    page.wait_for_selector("#problem:not([hidden])")
    assert page.text_content("#problem") == (
        "Line 2 of the articles cannot be used: it has no text."
    )
    page.set_input_files("#own", good)
    page.locator("#timing", has_text="3 articles").wait_for()
    assert ask(page, "押金什么时候退")[0] == "a0"
    assert page.text_content("#results li p") == rows[0]["text"]  # shown as text, not as markup
    page.click("summary")
    assert page.text_content("#kept") == "3 article vectors are stored in this browser."
    context.close()


def test_another_file_of_the_model_can_be_chosen(browser: Any, address: str) -> None:
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-state]")
    page.click("summary")
    names = page.eval_on_selector_all("#artifact option", "all => all.map(o => o.textContent)")
    assert names == ["onnx-int8-web · 5.3 MB", "onnx-fp32-web · 19.1 MB", "onnx-fp16-web · 9.6 MB"]
    page.select_option("#artifact", "fp32")
    wait(page)
    ask(page, QUESTION)
    assert "onnx-fp32-web on processor" in page.text_content("#timing")
    context.close()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--wasm-max-mem-pages=500", "too little memory for this model: it needs about 75 MB"),
        # V8 offers SIMD only where the processor has SSE4.1.
        ("--no-enable-sse4-1", "has no WebAssembly SIMD"),
    ],
)
def test_a_browser_that_cannot_run_the_model_is_told_so_in_a_sentence(
    browser: Any, address: str, flags: str, expected: str
) -> None:
    small = browser.browser_type.launch(
        executable_path=find_chromium(), args=["--no-sandbox", f"--js-flags={flags}"]
    )
    page = small.new_page(locale="en-US")
    page.goto(address)
    wait(page, "stopped")
    assert expected in page.text_content("#problem")
    assert page.is_disabled("#go")
    assert not page.is_visible("#progress")
    small.close()


def test_a_browser_without_webassembly_is_told_so(browser: Any, address: str) -> None:
    page = browser.new_page(locale="en-US")
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(address)
    wait(page, "stopped")
    assert "has no WebAssembly, so" in page.text_content("#problem")
    page.close()


def test_a_page_opened_from_disk_says_how_to_serve_it(browser: Any, web_package: Path) -> None:
    page = browser.new_page()
    page.goto((web_package / "index.html").as_uri())
    page.wait_for_selector("#unserved", state="visible")
    assert "python -m http.server" in page.text_content("#unserved")
    page.close()


def test_a_model_that_does_not_load_and_missing_articles_are_told(
    browser: Any, web_package: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(web_package, tmp_path / "copy"))
    (copy / "onnx" / "model_quantized.onnx").write_bytes(b"no graph")
    with serve({"/": copy}) as url:
        page = browser.new_page(locale="en-US")
        page.goto(f"{url}/index.html")
        wait(page, "stopped")
        assert page.text_content("#problem").startswith("The model could not be started: ")
        (copy / "articles.jsonl").unlink()
        page.reload()
        wait(page, "stopped")
        assert "articles.jsonl: 404" in page.text_content("#problem")
        page.close()


def test_vectors_of_other_articles_are_not_taken(
    browser: Any, web_package: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(web_package, tmp_path / "copy"))
    (stored,) = (copy / "vectors").glob("int8.*")  # 8 or 16 bits: kernels of processors differ
    stored.write_bytes(b"too short")
    with serve({"/": copy}) as url:
        page = browser.new_page(locale="en-US")
        page.goto(f"{url}/index.html")
        wait(page, "stopped")
        assert f"vectors/{stored.name}: 9" in page.text_content("#problem")
        page.close()


def test_a_file_without_a_pass_says_so_on_the_page(
    browser: Any, web_package: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(web_package, tmp_path / "copy"))
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["artifacts"][0]["verdict"]["verdict"] = "fail"
    path.write_text(json.dumps(manifest), "utf-8")
    with serve({"/": copy}) as url:
        page = browser.new_page(locale="en-US")
        page.goto(f"{url}/index.html")
        page.wait_for_selector("body[data-state]")
        names = page.eval_on_selector_all("#artifact option", "all => all.map(o => o.textContent)")
        assert "onnx-fp32-web · 19.1 MB · failed its test" in names
        page.close()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_invented_articles_are_called_so_in_large_letters(
    browser: Any, address: str, locale: str
) -> None:
    page = browser.new_page(locale=locale, viewport={"width": 390, "height": 844})
    page.route("**/*.onnx*", lambda route: route.abort())  # the model is not needed to see it
    page.goto(address)
    page.wait_for_selector("#notice", state="visible")
    said = page.text_content("#notice")
    assert "They are no law" in said if locale == "en-US" else "不是法律" in said
    size = page.evaluate("parseFloat(getComputedStyle(document.getElementById('notice')).fontSize)")
    assert size >= 20
    page.close()


def test_the_page_searches_the_corpus_that_is_given_and_says_where_it_is_a_part(
    browser: Any, web_artifacts: list[Judged], miniature: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    own = [(f"a{i}", f"住房租赁条例 第{i}条", f"押金应当在{i}日内退还。") for i in range(1200)]
    package = package_transformersjs(
        web_artifacts[1:2], tmp_path / "p", checkpoint=miniature, npm=npm, articles=own
    )
    assert len(articles_of(package)) == 1000
    about = json.loads((package / "articles.json").read_text())
    assert (about["articles"], about["of"], about["invented"]) == (1000, 1200, False)
    # Without questions nothing says that 8 bits would do.
    assert about["vectors"]["int8"]["bits"] == 16
    assert (package / "vectors" / "int8.i16").stat().st_size == 1000 * (4 + 2 * miniature.dim)
    readme = (package / "README.md").read_text("utf-8")
    assert "It has the first 1000 of the 1,200 articles." in readme
    assert "invented" not in readme
    with serve({"/": package}) as url:
        page = browser.new_page(locale="en-US")
        page.goto(f"{url}/index.html")
        page.wait_for_selector("#notice", state="visible")
        assert page.text_content("#notice") == "The first 1000 of 1200 articles."
        wait(page)
        encoder = OnnxEncoder(web_artifacts[1].folder, threads=1)
        assert ask(page, QUESTION) == best(encoder, articles_of(package), miniature)
        page.close()


@pytest.mark.slow
def test_how_soon_a_page_answers_is_measured(web_package: Path) -> None:
    # In a process of its own: this one drives a browser already.
    command = [sys.executable, "-m", "benchmarks.search_page", str(web_package), "--visits", "1"]
    said = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300
    )
    figures = said.stdout.splitlines()[-1].split("|")[1:4]
    assert all(float(figure) >= 0 for figure in figures)
