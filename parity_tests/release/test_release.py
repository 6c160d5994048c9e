import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("onnxruntime")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.errors import BadInput, GateClosed
from exporter.formats.open import artifact_source, open_artifact
from exporter.manifest import read_manifest
from exporter.packages.golden_check import check_golden
from exporter.packages.verdict import check_verdict, verdict_of
from exporter.recipe import ArtifactSpec
from exporter.release.run import check_recipe
from exporter.release.steps import release_folder
from exporter.report.write import read_report
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.original import open_original
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import REPOSITORY
from parity_tests.ollama_modelfile import parse_modelfile
from parity_tests.packaging import golden_of, package_ollama
from parity_tests.release import killed_release
from parity_tests.release.killed_release import POINTS
from parity_tests.release.small_release import LIMIT, RECIPE, release, silent
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_second_run_repeats_nothing_and_another_place_gets_the_same_bytes(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    before = hashes(released)
    _, said = release(tiny, tiny_corpus, released)
    assert said
    assert all(line.endswith("unchanged, kept") for line in said)
    assert hashes(released) == before
    release(tiny, tiny_corpus, tmp_path / "again")
    assert hashes(tmp_path / "again") == before


def test_a_damaged_artifact_is_exported_again(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(released, tmp_path / "out"))
    before = hashes(output)
    (output / "onnx-int8" / "model.onnx").write_bytes(b"")
    _, said = release(tiny, tiny_corpus, output)
    assert said[0] == "gguf-q8_0: unchanged, kept"
    assert said[1] == "onnx-int8: exporting"
    assert hashes(output) == before


def test_exports_side_by_side_give_the_same_bytes(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    _, said = release(tiny, tiny_corpus, tmp_path / "out", jobs=2)
    assert said[0] == "exporting 2 artifacts, 2 at once"
    assert sorted(said[1:3]) == ["gguf-q8_0: exported", "onnx-int8: exported"]
    assert hashes(tmp_path / "out") == hashes(released)


def test_an_error_in_one_of_two_exports_names_it_and_keeps_the_other(
    tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    (output / "onnx-int8").mkdir(parents=True)
    (output / "onnx-int8" / "mine.txt").write_text("keep me")
    with pytest.raises(BadInput, match="onnx-int8' is not empty; name another or pass --force"):
        release(tiny, tiny_corpus, output, jobs=2)
    assert (output / "onnx-int8" / "mine.txt").read_text() == "keep me"
    assert not (output / "gguf-q8_0").exists()


def test_two_releases_into_one_folder_are_not_mixed(
    tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    with release_folder(tmp_path), pytest.raises(BadInput, match="is being written by another run"):
        release(tiny, tiny_corpus, tmp_path)


def test_a_package_that_is_not_proven_any_more_is_removed_unless_someone_changed_it(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    strict = type(RECIPE.limits["8bit"])(**{**LIMIT, "cosine_p1_min": 0.9999999})
    recipe = RECIPE.model_copy(update={"limits": {**RECIPE.limits, "8bit": strict}})
    output = Path(shutil.copytree(released, tmp_path / "out"))
    _, said = release(tiny, tiny_corpus, output, recipe)
    assert "packages/ollama-q8_0: not proven any more, removed" in said
    assert not (output / "packages" / "ollama-q8_0").exists()
    output = Path(shutil.copytree(released, tmp_path / "changed"))
    (output / "packages" / "ollama-q8_0" / "notes.txt").write_text("mine")
    _, said = release(tiny, tiny_corpus, output, recipe)
    assert any("it was changed by hand, remove it yourself" in line for line in said)
    assert (output / "packages" / "ollama-q8_0" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "point", [POINTS[0], *(pytest.param(n, marks=pytest.mark.slow) for n in POINTS[1:])]
)
def test_a_release_killed_at_any_point_goes_on_to_the_same_bytes(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path, point: int
) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", killed_release.__name__]
    named = [str(tiny.path), str(tiny_corpus), str(output), str(point)]
    ended = subprocess.run(
        [*command, *named], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    release(tiny, tiny_corpus, output)
    assert hashes(output) == hashes(released)


def test_a_changed_limit_judges_again_and_closes_the_gate(
    released: Path, tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(released, tmp_path / "out"))
    strict = {**LIMIT, "mrr_at_10_margin": 0.0001}
    recipe = RECIPE.model_copy(
        update={"limits": {**RECIPE.limits, "8bit": type(RECIPE.limits["8bit"])(**strict)}}
    )
    outcome, said = release(tiny, tiny_corpus, output, recipe)
    assert said[0].endswith("unchanged, kept")
    assert said[2].startswith("parity: 21 documents")
    assert len(outcome.closed) == 2
    assert "reaches past mrr_at_10_margin 0.0001" in outcome.closed[0]
    line = (output / "parity.md").read_text("utf-8").splitlines()[0]
    assert line.startswith("**undecided**: onnx-int8 undecided (whether it loses")


def test_the_package_says_what_a_person_needs(released: Path) -> None:
    package = released / "packages" / "ollama-q8_0"
    names = sorted(p.name for p in package.iterdir())
    assert names == [
        "LICENSE",
        "Modelfile",
        "README.md",
        "SHA256SUMS",
        "client.mjs",
        "client.py",
        "create.ps1",
        "create.sh",
        "golden.json",
        "guard",
        "manifest.json",
        "prompts.json",
        "space.json",
        "tiny-q8_0.gguf",
        "verify.py",
    ]
    instructions = {
        i.name: i.value
        for i in parse_modelfile((package / "Modelfile").read_text(encoding="utf-8"))
    }
    assert instructions == {"from": "./tiny-q8_0.gguf", "parameter": "num_ctx 64"}
    readme = (package / "README.md").read_text(encoding="utf-8")
    assert "ollama create tiny-q8_0 -f Modelfile" in readme
    assert "Passed its limits" in readme
    assert json.loads((package / "prompts.json").read_text()) == {
        "query": "task: search result | query: {text}",
        "document": "title: none | text: {title} {text}",
        "document_without_title": "title: none | text: {text}",
    }
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["artifacts"][0]["verdict"]["verdict"] == "pass"
    assert "packaged" not in (released / "gguf-q8_0" / "manifest.json").read_text()


def test_what_did_not_pass_is_packaged_only_with_a_reason(
    released: Path, tiny: Checkpoint, tmp_path: Path
) -> None:
    artifact = released / "gguf-q8_0"
    unjudged = verdict_of(artifact, None)
    with pytest.raises(GateClosed, match="was never judged"):
        check_verdict(unjudged, artifact)
    with pytest.raises(BadInput, match="needs a reason"):
        verdict_of(artifact, None, override_reason=" ")
    verdict = verdict_of(artifact, None, override_reason="for a bug report")
    encoder = open_artifact(artifact)
    golden = golden_of(encoder, tiny)
    record = package_ollama(
        artifact, tmp_path / "p", checkpoint=tiny, verdict=verdict, golden=golden
    )
    assert record.artifacts[0].verdict.override_reason == "for a bug report"
    readme = (tmp_path / "p" / "README.md").read_text(encoding="utf-8")
    assert "Packaged without a pass" in readme
    assert "for a bug report" in readme
    with pytest.raises(BadInput, match="Ollama takes a GGUF"):
        package_ollama(
            released / "onnx-int8", tmp_path / "q", checkpoint=tiny, verdict=verdict, golden=golden
        )


def test_a_report_on_other_bytes_is_no_verdict(released: Path, tmp_path: Path) -> None:
    report = read_report(released / "parity.json")
    artifact = Path(shutil.copytree(released / "gguf-q8_0", tmp_path / "g"))
    path = artifact / "manifest.json"
    path.write_text(path.read_text().replace('"max_tokens": 64', '"max_tokens": 63'))
    assert verdict_of(artifact, report).verdict == "none"
    assert verdict_of(released / "gguf-q8_0", report).verdict == "pass"


class Changed:
    """An encoder that a careless server would be: without EOS, or with another prompt."""

    def __init__(self, encoder: Any, *, prompt: str = "", drop_end: bool = False) -> None:
        self.encoder, self.prompt, self.drop_end = encoder, prompt, drop_end
        self.name, self.dim = "changed", encoder.dim

    def token_ids(self, texts: list[str], *, prompt: str = "") -> list[list[int]]:
        rows = self.encoder.token_ids([self.prompt + t for t in texts])
        return [row[:-1] for row in rows] if self.drop_end else rows

    def encode(self, texts: list[str], **options: Any) -> Vectors:
        return self.encoder.encode([self.prompt + t for t in texts])

    def close(self) -> None:
        pass


def test_golden_vectors_find_a_dropped_end_a_wrong_prompt_and_another_artifact(
    released: Path, tiny: Checkpoint, tmp_path: Path
) -> None:
    encoder = open_artifact(released / "gguf-q8_0")
    golden = golden_of(encoder, tiny)
    assert check_golden(golden, encoder) == []
    assert "other token ids" in check_golden(golden, Changed(encoder, drop_end=True))[0]  # type: ignore[arg-type]
    prompted = Changed(encoder, prompt="task: search result | query: ")
    failures = check_golden(golden, prompted)  # type: ignore[arg-type]
    assert "these are the vectors of texts with another prompt in front" in failures
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=9))
    failures = check_golden(golden, TorchReference(other, dtype="float32"))
    assert any("another model is served" in line for line in failures)


def test_a_recipe_that_cannot_be_carried_out_is_refused() -> None:
    for spec, expected in (
        (ArtifactSpec(format="onnx", scheme="int8", packages=("ollama",)), "which takes gguf"),
        (ArtifactSpec(format="gguf", scheme="f16", packages=("olama",)), "did you mean 'ollama'"),
    ):
        with pytest.raises(BadInput, match=expected):
            check_recipe(RECIPE.model_copy(update={"artifacts": (spec,)}))
    with pytest.raises(ValueError, match="scheme 'int8' is unknown for gguf"):
        ArtifactSpec(format="gguf", scheme="int8")


def test_an_artifact_of_another_checkpoint_is_refused(
    released: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    from exporter.parity.run import run_parity

    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=9))
    with pytest.raises(BadInput, match=r"was not made from .*model.safetensors differs"):
        run_parity(
            [released / "onnx-int8"],
            original=open_original(other),
            corpus=read_corpus(tiny_corpus),
            recipe=RECIPE,
            artifact_source=artifact_source,
            stages=silent,
        )


def test_figures_of_the_report_can_be_recomputed(
    released: Path, tiny: Checkpoint, tiny_corpus: Path
) -> None:
    report = read_report(released / "parity.json")
    result = next(a for a in report.artifacts if a.name == "gguf-q8_0")
    assert result.size_bytes == read_manifest(released / "gguf-q8_0").size_bytes
    corpus = read_corpus(tiny_corpus)
    texts = [
        f"title: none | text: {t} {x}" for t, x in zip(corpus.titles, corpus.texts, strict=True)
    ]
    asked = [f"task: search result | query: {q}" for q in corpus.queries]
    ours = open_artifact(released / "gguf-q8_0").encode([*texts, *asked])
    truth = TorchReference(tiny, dtype="float32").encode([*texts, *asked])
    for d in result.dims:
        a, b = ours[:, : d.dim].astype("f8"), truth[:, : d.dim].astype("f8")
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert d.cosine.minimum == pytest.approx(cosines.min(), abs=1e-6)
        unit = a / np.linalg.norm(a, axis=1, keepdims=True)
        scores = unit[len(texts) :] @ unit[: len(texts)].T
        ranks = [
            1 + int((row > row[corpus.doc_ids.index(next(iter(corpus.qrels[q])))]).sum())
            for q, row in zip(corpus.query_ids, scores, strict=True)
        ]
        expected = np.mean([1 / r if r <= 10 else 0 for r in ranks])
        assert d.deployed("both").metrics.mrr_at_10 == pytest.approx(expected, abs=0.08)
