"""Packages of Qwen3-Embedding: the last token pooled, the instruction applied, each proven."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for module in ("torch", "sentence_transformers", "onnxruntime", "llama_cpp"):
    pytest.importorskip(module)

from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.manifest import read_manifest  # noqa: E402
from exporter.packages.assemble import Judged, assemble  # noqa: E402
from exporter.packages.ollama.modelfile import model_tag  # noqa: E402
from exporter.packages.verdict import PackageVerdict  # noqa: E402
from exporter.packages.verify import verify_package  # noqa: E402
from exporter.registry import PACKAGES, resolve  # noqa: E402
from exporter.runtimes.original import CheckpointTokens  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from exporter.vectors.known_texts import LONGEST, golden_texts  # noqa: E402
from parity_tests.npm import install_transformers  # noqa: E402
from parity_tests.packaging import evidence_of  # noqa: E402
from parity_tests.servers import LLAMA_CPP, answering, as_ollama, running  # noqa: E402
from parity_tests.tiny_qwen3 import QUERY, make_tiny_qwen3  # noqa: E402

QUESTION = "房东不退押金怎么办"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("qwen3") / "tiny-qwen3"
    return read_checkpoint(make_tiny_qwen3(folder, positions=2048, max_tokens=600))


@pytest.fixture(scope="module")
def asked(checkpoint: Checkpoint) -> Any:
    """The vector of the question, its instruction in front, in torch."""
    return TorchReference(checkpoint, dtype="float32", device="cpu").encode([QUERY + QUESTION])[0]


def judged(checkpoint: Checkpoint, folder: Path, export: Any, **options: Any) -> Judged:
    export(checkpoint, folder, **options)
    verdict = PackageVerdict(
        verdict="pass",
        corpus="c",
        corpus_sha256="0" * 64,
        cosine_minimum=0.9,
        unproven=read_manifest(folder).unproven,
    )
    return Judged(folder, verdict, *evidence_of(open_artifact(folder), checkpoint))


def package(
    name: str,
    artifact: Judged,
    output: Path,
    checkpoint: Checkpoint,
    settings: Mapping[str, Any] | None = None,
    language: Any = "en",
) -> Path:
    packager = resolve(PACKAGES, name, what="package")
    assemble(
        packager, [artifact], output, checkpoint=checkpoint, settings=settings, language=language
    )
    return output


def proven(folder: Path, **settings: Any) -> str:
    """Run verify. Returns what it tells."""
    report = verify_package(folder, settings=settings or None)
    assert report.verdict == "pass", report.checks
    return str(report)


def test_onnxruntime_and_its_example(checkpoint: Checkpoint, asked: Any, tmp_path: Path) -> None:
    made = judged(checkpoint, tmp_path / "a", export_onnx)
    folder = package("onnxruntime", made, tmp_path / "p", checkpoint)
    proven(folder)
    found = run_example(folder, QUESTION, "短")
    np.testing.assert_allclose(found[0], asked, rtol=0, atol=1e-5)


def test_openvino_and_its_example(checkpoint: Checkpoint, asked: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = judged(checkpoint, tmp_path / "a", export_openvino)
    folder = package("openvino", made, tmp_path / "p", checkpoint)
    proven(folder)
    found = run_example(folder, QUESTION, "短")
    np.testing.assert_allclose(found[0], asked, rtol=0, atol=1e-5)


def run_example(folder: Path, *questions: str) -> Any:
    ran = subprocess.run(
        [sys.executable, folder / "example.py", *questions],
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array(json.loads(ran.stdout))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sentence_transformers_in_padded_batches_and_what_the_readme_says(
    checkpoint: Checkpoint, asked: Any, tmp_path: Path, language: str
) -> None:
    pytest.importorskip("optimum.onnxruntime")
    made = judged(checkpoint, tmp_path / "a", export_onnx)
    folder = package("sentence-transformers", made, tmp_path / "p", checkpoint, language=language)
    proven(folder)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    assert pooling["pooling_mode_lasttoken"] and not pooling["pooling_mode_mean_tokens"]
    readme = (folder / "README.md").read_text("utf-8")
    assert "PoolingType.LAST_TOKEN" in readme
    assert "--pooling last-token" in readme
    assert f'model.encode_query(["{QUESTION}"])' in readme
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), backend="onnx", device="cpu")
    assert model.tokenizer.padding_side == "left"
    found = model.encode_query([QUESTION, "短", QUESTION * 9])
    np.testing.assert_allclose(found[0], asked, rtol=0, atol=3e-5)


def test_fastembed_as_the_readme_says(checkpoint: Checkpoint, asked: Any, tmp_path: Path) -> None:
    fastembed = pytest.importorskip("fastembed", minversion="0.9")
    from fastembed.common.model_description import ModelSource, PoolingType

    made = judged(checkpoint, tmp_path / "a", export_onnx)
    folder = package("sentence-transformers", made, tmp_path / "p", checkpoint)
    fastembed.TextEmbedding.add_custom_model(
        model="tiny-qwen3",
        pooling=PoolingType.LAST_TOKEN,
        normalization=True,
        dim=64,
        sources=ModelSource(hf="ORG/NAME"),
        model_file="onnx/model.onnx",
        additional_files=["onnx/model.onnx_data"],
    )
    model = fastembed.TextEmbedding("tiny-qwen3", specific_model_path=str(folder))
    found = list(model.embed([QUERY + QUESTION, "短"]))
    np.testing.assert_allclose(found[0], asked, rtol=0, atol=3e-5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_ollama_and_what_the_readme_says(
    checkpoint: Checkpoint, tmp_path: Path, language: str
) -> None:
    made = judged(checkpoint, tmp_path / "a", export_gguf, scheme="q8_0")
    folder = package("ollama", made, tmp_path / "p", checkpoint, language=language)
    proven(folder)
    readme = (folder / "README.md").read_text("utf-8")
    assert "--pooling last -c 600\n" in readme
    assert "Dense" not in readme and "NFC" in readme
    unproven = {"en": "Not proven on real weights", "zh": "未在真实权重上验证"}
    assert unproven[language] in readme
    assert model_tag("tiny-qwen3", "q8_0") in readme
    modelfile = (folder / "Modelfile").read_text("utf-8")
    assert "PARAMETER num_ctx 600" in modelfile and "TEMPLATE" not in modelfile


def test_a_server_with_the_readmes_options_passes_and_one_that_pools_the_mean_is_named(
    tmp_path: Path,
) -> None:
    pytest.importorskip("xllamacpp")
    folder = make_tiny_qwen3(tmp_path / "tiny-qwen3", layers=1, positions=4096, max_tokens=2500)
    checkpoint = read_checkpoint(folder)
    made = judged(checkpoint, tmp_path / "a", export_gguf, scheme="q8_0")
    packed = package("ollama", made, tmp_path / "p", checkpoint)
    (model,) = packed.glob("*.gguf")
    # llama-server -c alone: a text longer than its batches is decoded in parts.
    server = LLAMA_CPP.replace("p.n_ctx = p.n_batch = p.n_ubatch = ", "p.n_ctx = ")
    assert server != LLAMA_CPP
    with running(server, model, tokens=2528) as url, answering(as_ollama(url)) as ollama:
        ran = verify(packed, ollama)
    assert ran.returncode == 0, ran.stderr
    kind = "xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN"
    mean = LLAMA_CPP.replace("server =", f"p.pooling_type = {kind}\nserver =")
    with running(mean, model, tokens=2528) as url, answering(as_ollama(url)) as ollama:
        ran = verify(packed, ollama)
    assert ran.returncode == 1
    assert "a model pooled by 'mean' instead of 'lasttoken'" in ran.stderr


def verify(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "verify.py"), "--url", url]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_model_that_reads_32k_is_proven_by_texts_of_8k(tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "long", layers=1, positions=32768, max_tokens=None)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.max_tokens == 32768
    tokens = CheckpointTokens(checkpoint)

    class Tokens:
        def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
            return tokens([prompt + text for text in texts])

    reference: Any = Tokens()
    texts = [text for _, text in golden_texts(reference, checkpoint.prompts)]
    lengths = [len(row) for row in reference.token_ids(texts)]
    assert LONGEST / 2 < max(lengths) < LONGEST
    assert len(set(texts)) == len(texts)


def test_transformersjs_in_node_by_model_and_by_pipeline(
    checkpoint: Checkpoint, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    npm = install_transformers(tmp_path_factory.mktemp("npm"))
    made = judged(checkpoint, tmp_path / "a", export_onnx, flavour="web")
    settings = {"node_modules": npm}
    folder = package("transformersjs", made, tmp_path / "p", checkpoint, settings)
    readme = (folder / "README.md").read_text("utf-8")
    assert '{ pooling: "last_token", normalize: true }' in readme
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert config["padding_side"] == "left"
    told = proven(folder, runtime=["node"], node_modules=npm)
    assert "AutoModel and pipeline" in told
