"""Artifacts with a domain's vocabulary: the same vectors from a smaller table, in every runtime."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

pytest.importorskip("onnxruntime")

from exporter.api import export, judge, package
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.vocabulary import MAP_NAME, read_map
from exporter.cli.main import main
from exporter.corpus.beir import Corpus, make_corpus, read_corpus
from exporter.errors import BadInput
from exporter.formats.open import open_artifact
from exporter.manifest import Manifest, describe_files, read_manifest
from exporter.packages.verify import verify_package
from exporter.parity.results import ParityReport
from exporter.recipe import ArtifactSpec, Recipe, read_recipe
from exporter.records import write_json
from exporter.release.package_all import packages_of
from exporter.vocabulary.classes import CLASSES
from exporter.vocabulary.count import NamedTexts, documents_of
from exporter.vocabulary.make import make_vocabulary
from parity_tests.conftest import BUNDLED_CORPUS, REPOSITORY
from parity_tests.tiny_checkpoint import SENTENCES

KEPT = SENTENCES[0], SENTENCES[2], SENTENCES[0][4:9]
LOST = SENTENCES[3]


@pytest.fixture(scope="session")
def small(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("domain") / "vocabulary"
    make_vocabulary(tiny, folder, counted=[NamedTexts("kept", KEPT)], classes=())
    return folder


@pytest.mark.parametrize(
    ("format", "scheme", "options"),
    [
        ("onnx", "fp32", {}),
        ("onnx", "fp16", {}),
        ("onnx", "int8", {}),
        ("onnx", "int8", {"flavour": "web", "dim": 32}),
        ("onnx", "q4", {}),
        ("openvino", "fp32", {}),
        ("openvino", "int8", {}),
        ("gguf", "f32", {}),
        ("gguf", "q8_0", {}),
        ("gguf", "q8_0", {"imatrix": "on"}),
        ("gguf", "q4_0", {}),
        ("gguf", "q4_0", {"plan": "upstream"}),
    ],
)
def test_a_text_whose_pieces_are_kept_has_the_same_vector_to_the_last_bit(
    tiny: Checkpoint, small: Path, tmp_path: Path, format: str, scheme: str, options: dict[str, Any]
) -> None:
    if format != "onnx":
        pytest.importorskip({"gguf": "llama_cpp", "openvino": "openvino"}[format])
    made: dict[str, tuple[Manifest, Any, Any]] = {}
    for name, vocabulary in (("whole", None), ("cut", small)):
        manifest = export(
            tiny, tmp_path / name, format=format, scheme=scheme, vocabulary=vocabulary, **options
        )
        with closing(open_artifact(tmp_path / name, threads=1)) as encoder:
            made[name] = manifest, encoder.encode(KEPT), encoder.encode([LOST])
    (whole, *vectors), (cut, *ours) = made["whole"], made["cut"]
    assert np.array_equal(vectors[0].view(np.uint32), ours[0].view(np.uint32))
    assert not np.array_equal(vectors[1], ours[1])  # spelled otherwise
    assert cut.vocabulary is not None
    assert whole.vocabulary is None
    assert cut.name == f"{whole.name}-domain"
    assert cut.size_bytes < whole.size_bytes
    tables = [t for t in cut.tensors if t.name in ("embed_tokens", "token_embd.weight")]
    assert [t.shape[0] for t in tables] == [cut.vocabulary.pieces]
    if (tmp_path / "cut" / "config.json").is_file():
        config = json.loads((tmp_path / "cut" / "config.json").read_text("utf-8"))
        assert config["vocab_size"] == cut.vocabulary.pieces


def test_a_gguf_says_that_its_vocabulary_was_cut(
    tiny: Checkpoint, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = export(tiny, tmp_path / "cut", format="gguf", scheme="f32", vocabulary=small)
    assert run("lint", str(tmp_path / "cut" / manifest.entry)) == 0
    said = capsys.readouterr().out
    assert "domain-vocabulary" in said
    assert "errors 0" in said


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_traced_graph_keeps_the_whole_table(
    tiny: Checkpoint, small: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optimum.exporters.onnx")
    with pytest.raises(BadInput, match="leave --vocabulary out"):
        export(tiny, tmp_path / "x", format="onnx", graph="traced", vocabulary=small)


# The miniature, whose vectors mean something: parity, packages.


@pytest.fixture(scope="session")
def domain(miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of the bundled corpus' documents alone: a few questions lose a piece."""
    folder = tmp_path_factory.mktemp("bundled") / "vocabulary"
    counted = [documents_of(BUNDLED_CORPUS, miniature.prompts)]
    make_vocabulary(miniature, folder, counted=counted, classes=("ascii",))
    return folder


@pytest.fixture(scope="session")
def web(miniature: Checkpoint, domain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "int8"
    export(miniature, folder, format="onnx", scheme="int8", flavour="web", vocabulary=domain)
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return read_recipe(REPOSITORY / "recipes" / "lawvault.toml")


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="session")
def part() -> Corpus:
    """Sixty questions and their articles; most questions that lose a piece among them."""
    corpus = read_corpus(BUNDLED_CORPUS)
    odd = [i for i, text in enumerate(corpus.queries) if any("a" <= c <= "z" for c in text)]
    chosen = sorted({*odd[:30], *range(0, 300, 10)})
    ids = [corpus.query_ids[i] for i in chosen]
    answers = sorted({document for name in ids for document in corpus.qrels[name]})
    at = {name: i for i, name in enumerate(corpus.doc_ids)}
    return make_corpus(
        {name: (corpus.titles[at[name]], corpus.texts[at[name]]) for name in answers},
        {name: corpus.queries[i] for name, i in zip(ids, chosen, strict=True)},
        {name: corpus.qrels[name] for name in ids},
        name="part",
        split="test",
    )


def judged(artifact: Path, checkpoint: Checkpoint, corpus: Corpus, **given: Any) -> ParityReport:
    return judge([artifact], checkpoint, corpus=corpus, dims=[checkpoint.dim], **given)


@pytest.fixture(scope="session")
def report(
    web: Path, miniature: Checkpoint, part: Corpus, recipe: Recipe, vectors: Path
) -> ParityReport:
    return judged(web, miniature, part, recipe=recipe, cache=vectors)


def test_parity_reads_ids_through_the_map_and_says_what_is_lost(
    report: ParityReport, domain: Path
) -> None:
    (result,) = report.artifacts
    cut = result.vocabulary
    assert result.tokens_differ == 0
    assert cut is not None
    assert cut.pieces == len(read_map(domain).kept) < cut.of
    assert cut.documents_identical == cut.documents  # all were counted
    assert 0 < cut.questions_identical < cut.questions
    assert cut.lost >= cut.lost_most[0].times >= cut.lost_most[-1].times > 0
    assert cut.cosine is not None
    assert cut.cosine.worst[0].cosine == cut.cosine.minimum < result.dims[0].cosine.median
    assert cut.mrr_at_10 is not None
    assert 0 <= cut.mrr_at_10 <= 1


def test_the_report_names_what_is_lost_in_both_languages(
    report: ParityReport, tmp_path: Path
) -> None:
    from exporter.report.write import write_report

    for language, said in (("en", "keep every piece"), ("zh", "保留了全部词片")):
        write_report(tmp_path, report, language)  # type: ignore[arg-type]
        for name in ("parity.md", "parity.html"):
            assert said in (tmp_path / name).read_text("utf-8"), name


def test_an_artifact_whose_pieces_were_mixed_up_fails_by_its_ids(
    web: Path, miniature: Checkpoint, part: Corpus, recipe: Recipe, vectors: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(web, tmp_path / "broken"))
    found = read_map(broken)
    kept = list(found.kept)
    tokenizer = Tokenizer.from_file(str(web / "tokenizer.json"))
    read = {i for encoded in tokenizer.encode_batch(list(part.texts)) for i in encoded.ids}
    # One that the texts have names the id below it instead, which was to spare: another row.
    at = next(n for n in sorted(read) if n and kept[n] - kept[n - 1] > 1)
    kept[at] -= 1
    (broken / MAP_NAME).write_text(found.model_copy(update={"kept": tuple(kept)}).model_dump_json())
    manifest = read_manifest(broken)
    write_json(
        broken / "manifest.json", manifest.model_copy(update={"files": describe_files(broken)})
    )
    report = judged(broken, miniature, part, recipe=recipe, cache=vectors)
    (result,) = report.artifacts
    assert result.verdict == "fail"
    assert result.tokens_differ > 0
    assert "token ids differ" in result.reasons[0]


def test_a_corpus_of_other_texts_is_warned_of(
    miniature: Checkpoint, part: Corpus, recipe: Recipe, vectors: Path, tmp_path: Path
) -> None:
    english = NamedTexts("english", ("the landlord kept my deposit",))
    make_vocabulary(miniature, tmp_path / "pieces", counted=[english], classes=())
    export(miniature, tmp_path / "cut", format="onnx", vocabulary=tmp_path / "pieces")
    said: list[str] = []
    report = judged(
        tmp_path / "cut", miniature, part, recipe=recipe, cache=vectors, tell=said.append
    )
    (line,) = (line for line in said if line.startswith("warning"))
    assert "its vocabulary lacks" in line
    assert "cut one for these" in line
    assert report.verdict == "fail"
    assert report.artifacts[0].tokens_differ == 0


def verified(folder: Path, **given: Any) -> list[str]:
    checks = verify_package(folder, **given).checks
    assert checks
    return [f"{check.name}: {check.detail}" for check in checks if check.status == "fail"]


def test_a_browsers_package_works_unchanged(
    web: Path, miniature: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    package(
        "transformersjs",
        [web],
        tmp_path / "out",
        checkpoint=miniature,
        report=None,
        settings={"node_modules": npm},
        override_reason="a test",
    )
    assert not verified(tmp_path / "out", settings={"runtime": ("node",), "node_modules": npm})
    tokenizer = json.loads((tmp_path / "out" / "tokenizer.json").read_text("utf-8"))
    manifest = read_manifest(web)
    assert manifest.vocabulary is not None
    assert len(tokenizer["model"]["vocab"]) == manifest.vocabulary.pieces


@pytest.mark.parametrize(
    ("consumer", "format", "scheme"),
    [
        ("onnxruntime", "onnx", "fp32"),
        ("sentence-transformers", "onnx", "fp32"),
        ("openvino", "openvino", "fp32"),
        ("ollama", "gguf", "q8_0"),
    ],
)
def test_every_package_works_unchanged(
    miniature: Checkpoint, domain: Path, tmp_path: Path, consumer: str, format: str, scheme: str
) -> None:
    if format != "onnx":
        pytest.importorskip({"gguf": "llama_cpp", "openvino": "openvino"}[format])
    artifact = tmp_path / "artifact"
    export(miniature, artifact, format=format, scheme=scheme, vocabulary=domain)
    package(
        consumer,
        [artifact],
        tmp_path / "out",
        checkpoint=miniature,
        report=None,
        override_reason="a test",
    )
    assert not verified(tmp_path / "out")
    pieces = len(read_map(domain).kept)
    assert f"It holds {pieces:,} of the model's" in (tmp_path / "out" / "README.md").read_text(
        "utf-8"
    )


def test_one_package_holds_one_vocabulary(web: Path, miniature: Checkpoint, tmp_path: Path) -> None:
    export(miniature, tmp_path / "whole", format="onnx", scheme="fp32", flavour="web")
    with pytest.raises(BadInput, match="different vocabularies"):
        package(
            "transformersjs",
            [web, tmp_path / "whole"],
            tmp_path / "out",
            checkpoint=miniature,
            report=None,
            override_reason="a test",
        )


def test_a_release_packages_both_vocabularies_apart(tmp_path: Path) -> None:
    whole = ArtifactSpec(format="onnx", scheme="int8", flavour="web", packages=("transformersjs",))
    cut = whole.model_copy(update={"vocabulary": "pieces"})
    assert cut.name == "onnx-int8-web-domain"
    found = packages_of({tmp_path / "a": whole, tmp_path / "b": cut})
    assert sorted(found) == ["packages/transformersjs", "packages/transformersjs-domain"]


def test_a_recipes_vocabulary_is_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'schema_version = 1\nextends = "lawvault"\n[[artifacts]]\nformat = "onnx"\n'
        'scheme = "int8"\nvocabulary = "pieces"\n'
    )
    (spec,) = read_recipe(tmp_path / "own.toml").artifacts
    assert spec.vocabulary == str(tmp_path / "pieces")


def test_the_command_line_makes_one_and_uses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces, artifact = tmp_path / "pieces", tmp_path / "artifact"
    arguments = ("--corpus", str(BUNDLED_CORPUS), "--output", str(pieces))
    assert run("vocabulary", *arguments, "--keep", "ascii") == 0
    out = capsys.readouterr().out
    assert "held out:" in out
    assert f"--vocabulary {pieces}" in out
    assert run("vocabulary", *arguments) == 2  # not empty
    assert run("vocabulary", *arguments, "--force", "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert set(described["kept"]) >= set(CLASSES)
    arguments = ("--vocabulary", str(pieces), "--output", str(artifact))
    assert run("export", "onnx", "--quant", "fp32", *arguments) == 0
    assert "vocabulary: " in capsys.readouterr().out
    for folder in (artifact, pieces):
        assert run("inspect", str(folder)) == 0
        assert "600 documents of lawvault-mini" in capsys.readouterr().out
    for folder in (artifact, pieces):
        (folder / "tokenizer.json").write_text("{}")
        assert run("inspect", str(folder)) == 2
    assert run("vocabulary", "--output", str(tmp_path / "none")) == 2
    assert "no texts to count" in capsys.readouterr().err


def test_questions_that_are_not_of_the_domain_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, asked = tmp_path / "texts.txt", tmp_path / "asked.txt"
    texts.write_text("the landlord kept the deposit\n")
    asked.write_text("房东不退押金怎么办\n老板拖欠三个月工资\n")
    arguments = ("--texts", str(texts), "--held-out", str(asked), "--keep", "")
    assert run("vocabulary", *arguments, "--output", str(tmp_path / "v")) == 0
    said = capsys.readouterr()
    assert "0 of 2 questions of asked.txt keep every piece (0.0 %)" in said.out
    assert "are hardly texts of the domain" in said.err


@pytest.mark.slow
def test_questions_on_an_existing_table_name_what_is_lost(web: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    corpus, table = str(BUNDLED_CORPUS), str(tmp_path / "table")
    prompts = ("--prompts", "query={text},document=title: {title} | text: {text}")
    assert run("index", str(web), "--corpus", corpus, "--output", table) == 0
    asked = ("--queries", str(BUNDLED_CORPUS / "queries.jsonl"), "--output", str(tmp_path / "out"))
    columns = ("--text-column", "text", "--title-column", "title")
    assert run("parity", str(web), "--index", table, *asked, *columns, *prompts) in (0, 1)
    (result,) = json.loads((tmp_path / "out" / "parity-index.json").read_text("utf-8"))["artifacts"]
    assert result["tokens_differ"] == 0
    assert result["spelled"] > 0
    assert result["lost_most"][0]["times"] > 0
    page = (tmp_path / "out" / "parity-index.md").read_text("utf-8")
    assert "questions have a piece that its vocabulary lacks" in page
