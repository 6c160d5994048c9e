"""parity.html, index.html and the model card, from a real run; looked at in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

import numpy as np
from huggingface_hub import ModelCard

from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.manifest import TensorRecord
from exporter.onnx.export import export_onnx
from exporter.package.card import render_card
from exporter.parity.changed import changed_answers
from exporter.parity.corpus import read_corpus
from exporter.parity.html import render_html
from exporter.parity.overview import existing_index, lead_sentences, write_overview
from exporter.parity.parts import bytes_by_part, part_of
from exporter.parity.records import ChangedAnswer, FoundDocument, ParityReport
from exporter.parity.run import run_parity
from exporter.progress import silent
from exporter.recipe import Recipe, read_recipe
from exporter.runtimes.open import artifact_source, open_original
from parity_tests.conftest import REPOSITORY
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

ATTACK = "<script>document.title='broken'</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def lenient() -> Recipe:
    recipe = read_recipe(REPOSITORY / "recipes" / "lawvault.toml")
    limits = {name: entry.model_copy(update={
        "cosine_p1_min": -1.0, "overlap_at_10_min": 0.0, "mrr_at_10_margin": 1.0, "reason": "test"})
        for name, entry in recipe.limits.items()}  # fmt: skip
    return recipe.model_copy(update={"limits": limits, "bootstrap_resamples": 1000})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pages")
    source = make_tiny_checkpoint(place / "tiny")
    (source / "README.md").write_text(
        "---\nlicense: gemma\nbase_model: google/embeddinggemma-300m\nlanguage: zh\n---\n# x\n"
    )
    corpus = make_tiny_corpus(place / "corpus")
    lines = (corpus / "corpus.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record["title"] = ATTACK
        record["text"] = ATTACK + record["text"]
    (corpus / "corpus.jsonl").write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8"
    )
    return place


@pytest.fixture(scope="module")
def report(folder: Path) -> ParityReport:
    checkpoint = read_checkpoint(folder / "tiny")
    for quant in ("none", "q4"):
        export_onnx(checkpoint, folder / f"onnx-{quant}", quant=quant, head_correction="off")
    return run_parity(
        [folder / "onnx-none", folder / "onnx-q4"], original=open_original(checkpoint),
        corpus=read_corpus(folder / "corpus"), recipe=lenient(), artifact_source=artifact_source,
        stages=silent,
    )  # fmt: skip


def test_the_page_is_whole_and_the_same_each_time(report: ParityReport) -> None:
    page = render_html(report)
    assert page == render_html(report)
    assert "http" not in re.sub(r"<meta http-equiv[^>]*>", "", page)
    for part in ("onnx-fp32", "onnx-q4", "Ways of deployment", "Rank flips", "Worst texts"):
        assert part in page
    assert page.count("<svg") == 4
    assert "embedding table" in page


def test_texts_of_a_corpus_cannot_run_in_the_page(report: ParityReport) -> None:
    page = render_html(report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_changed_answers_are_sorted_by_how_far_the_right_one_fell(folder: Path) -> None:
    corpus = read_corpus(folder / "corpus")
    count = len(corpus.query_ids)
    right = [corpus.doc_ids.index(next(iter(corpus.qrels[q]))) for q in corpus.query_ids]
    reference = np.array([[r, *(d for d in range(60) if d != r)][:10] for r in right])
    ours = reference.copy()
    ours[3] = np.roll(reference[3], 1)  # the right one at the second place
    ours[7] = [d for d in range(60) if d != right[7]][:10]  # not among the ten
    first, second = changed_answers(ours, reference, corpus)
    assert (first.id, first.ours.rank, first.reference.rank) == (corpus.query_ids[7], None, 1)
    assert (second.id, second.ours.rank) == (corpus.query_ids[3], 2)
    assert first.reference.id == corpus.doc_ids[right[7]]
    assert first.ours.title == ATTACK
    assert changed_answers(reference, reference, corpus) == ()
    assert len(changed_answers(np.roll(reference, 1, axis=1), reference, corpus)) == 10 < count


def test_a_changed_answer_stands_beside_the_one_before(report: ParityReport) -> None:
    found = FoundDocument(id="d1", title="甲", text="一" + ATTACK, rank=1)
    other = FoundDocument(id="d2", title="乙", text="二", rank=None)
    changed = ChangedAnswer(id="q", question="问" + ATTACK, reference=found, ours=other)
    artifact = report.artifacts[0]
    full = artifact.dims[0].model_copy(update={"changed": (changed,)})
    artifact = artifact.model_copy(update={"dims": (full, *artifact.dims[1:])})
    page = render_html(report.model_copy(update={"artifacts": (artifact,)}))
    assert "right answer at 1" in page
    assert "right answer not among the ten" in page
    assert "<script" not in page


def test_quantiles_are_the_errors_of_all_texts(report: ParityReport) -> None:
    cosine = report.artifacts[1].dims[0].cosine
    assert len(cosine.quantiles) == 21
    assert list(cosine.quantiles) == sorted(cosine.quantiles)
    assert cosine.quantiles[10] == pytest.approx(1 - cosine.median, rel=1e-3)
    assert cosine.quantiles[-1] == pytest.approx(1 - cosine.minimum, rel=1e-3)


def test_bytes_are_counted_by_part() -> None:
    names = {"token_embd.weight": "embedding table", "embed_tokens_scale": "embedding table",
             "blk.0.attn_q.weight": "attention", "layers.0.self_attn.o_proj": "attention",
             "blk.0.attn_q_norm.weight": "norms and rest", "blk.1.ffn_up.weight": "MLP",
             "layers.0.mlp.up_proj_scale": "MLP", "dense_2.weight": "head",
             "dense_folded": "head", "rotary_cos_full_attention": "norms and rest"}  # fmt: skip
    assert {name: part_of(name) for name in names} == names
    tensors = [TensorRecord(name=name, dtype="Q4_0", shape=(4, 32), bits_per_weight=4.5)
               for name in names]  # fmt: skip
    assert sum(bytes_by_part(tensors).values()) == 72 * len(names)


def test_the_parts_of_a_real_artifact_add_up_to_its_file(report: ParityReport) -> None:
    fp32, q4 = report.artifacts
    assert 0.6 * fp32.size_bytes < sum(fp32.parts.values()) < fp32.size_bytes
    assert sum(q4.parts.values()) < q4.size_bytes
    assert q4.parts["MLP"] < 0.25 * fp32.parts["MLP"]


def with_verdicts(report: ParityReport, *pairs: tuple[str, str]) -> ParityReport:
    made = []
    for artifact, (verdict, queries) in zip(report.artifacts, pairs, strict=True):
        full = artifact.dims[0]
        ways = tuple(d.model_copy(update={"verdict": queries}) if d.way == "queries" else d
                     for d in full.deployments)  # fmt: skip
        dims = (full.model_copy(update={"deployments": ways}), *artifact.dims[1:])
        made.append(artifact.model_copy(update={"verdict": verdict, "dims": dims}))
    return report.model_copy(update={"artifacts": tuple(made)})


def test_the_three_sentences_follow_the_verdicts(report: ParityReport) -> None:
    both = lead_sentences(with_verdicts(report, ("pass", "pass"), ("fail", "pass")))
    assert both[0].startswith("Keep the index you have: onnx-fp32 may ask it")
    assert both[2] == "Do not use onnx-q4 (failed)."
    new = with_verdicts(report, ("pass", "undecided"), ("undecided", "pass"))
    said = lead_sentences(new)
    assert said[0].startswith("No file is proven for questions against an index")
    assert said[1].startswith("Make the index again with the same file to use onnx-fp32")
    assert "onnx-q4 (undecided on this many questions)" in said[2]
    assert [existing_index(a) for a in new.artifacts] == ["undecided", "undecided"]
    assert lead_sentences(with_verdicts(report, ("pass", "pass"), ("pass", "pass")))[2] == (
        "Every file passed."
    )


def test_the_overview_links_what_there_is(report: ParityReport, tmp_path: Path) -> None:
    write_overview(tmp_path, report, packages={"onnx-fp32": ["packages/x"]}, closed=["onnx-q4: no"])
    page = (tmp_path / "index.html").read_text("utf-8")
    for target in ("parity.html", "onnx-fp32/manifest.json", "packages/x/README.md"):
        assert f'href="{target}"' in page
    assert "onnx-q4: no" in page
    assert not list(tmp_path.glob("*.partial"))


def test_the_card_is_read_back_by_the_hubs_own_classes(folder: Path, report: ParityReport) -> None:
    text = render_card(read_checkpoint(folder / "tiny"), report)
    card = ModelCard(text)
    assert card.data.license == "gemma"
    assert card.data.base_model == "google/embeddinggemma-300m"
    results = {r.metric_name: r.metric_value for r in card.data.eval_results}
    full = report.artifacts[0].dims[0].deployed("both").metrics
    assert results["MRR@10, onnx-fp32, dim 64"] == round(full.mrr_at_10, 4)
    assert len(results) == 8
    assert "**gemma**" in text
    assert "title: {title} | text: {text}" in text


def test_what_the_checkpoint_does_not_say_is_not_invented(
    folder: Path, report: ParityReport
) -> None:
    checkpoint = read_checkpoint(folder / "tiny")
    path = folder / "tiny" / "README.md"
    before = path.read_text("utf-8")
    try:
        path.unlink()
        bare = read_checkpoint(folder / "tiny")
        text = render_card(bare, report.model_copy(
            update={"checkpoint_files": {p: d for p, _, d in bare.file_hashes()}}))  # fmt: skip
    finally:
        path.write_text(before, "utf-8")
    assert "as its own card says: **not stated**" in text
    assert ModelCard(text, ignore_metadata_errors=True).data.license is None
    assert checkpoint.name in text


def test_a_report_on_another_checkpoint_is_refused(
    folder: Path, report: ParityReport, tmp_path: Path
) -> None:
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "other", seed=3))
    with pytest.raises(BadInput, match="about another checkpoint"):
        render_card(other, report)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_command_writes_the_card_and_keeps_what_is_there(
    folder: Path, report: ParityReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parity.json"
    path.write_text(report.model_dump_json(), "utf-8")
    command = ("card", "--checkpoint", folder / "tiny", "--report", path, "--quiet")
    assert run(*command) == 0
    assert (tmp_path / "README.md").read_text("utf-8").startswith("---\n")
    assert run(*command) == 2
    assert "pass --force" in capsys.readouterr().err
    assert run(*command, "--force") == 0
    assert run(*command, "--output", tmp_path) == 2


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the pages were not opened")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_fit_a_browser_and_ask_for_nothing(
    report: ParityReport, tmp_path: Path, width: int
) -> None:
    write_overview(tmp_path, report, packages={}, closed=[])
    (tmp_path / "parity.html").write_text(render_html(report), "utf-8")
    for name in ("parity.html", "index.html"):
        measured = in_chromium(tmp_path / name, tmp_path / "profile", width=width)
        assert measured["title"].startswith("tiny: ")
        assert measured["wide"] <= measured["window"], (name, measured)


def in_chromium(page: Path, profile: Path, *, width: int) -> dict[str, Any]:
    """Open a page framed at a width, and return what it measures of itself."""
    frame = page.with_name("frame.html")
    frame.write_text(
        f"<iframe id=f src='{page.name}' style='width:{width}px;height:900px;border:0'></iframe>"
        "<pre id=out></pre><script>f.onload = () => { const d = f.contentDocument; out.textContent "
        "= JSON.stringify({title: d.title, wide: d.documentElement.scrollWidth, window: "
        "d.documentElement.clientWidth}); }</script>",
        "utf-8",
    )
    assert CHROMIUM is not None
    ran = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--allow-file-access-from-files", f"--user-data-dir={profile}",
         "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<pre id=\"out\">(\{.*?\})</pre>", ran.stdout)
    assert found is not None, ran.stderr[-500:]
    measured: dict[str, Any] = json.loads(found.group(1))
    return measured
