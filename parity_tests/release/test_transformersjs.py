"""The package for transformers.js: in Node and in Chromium, and what it refuses."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

import onnx

from exporter.checkpoint.contents import Checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput, GateClosed
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.packages.assemble import Judged
from exporter.packages.transformersjs.npm import (
    INSTALL,
    NODE_MODULES_VARIABLE,
    PACKAGE,
    TESTED,
    find_node_modules,
    runtime_files,
)
from exporter.packages.verdict import PackageVerdict
from exporter.packages.verify import VerifyReport, verify_package
from parity_tests.packaging import judged_onnx, package_transformersjs, seal

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)


@pytest.fixture
def copy(web_package: Path, tmp_path: Path) -> Path:
    """A copy of the package, for a test to edit."""
    return Path(shutil.copytree(web_package, tmp_path / "copy"))


def checks(report: VerifyReport) -> Mapping[str, tuple[str, str]]:
    return {check.name: (check.status, check.detail) for check in report.checks}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_files_have_the_names_and_the_config_that_transformers_js_reads(web_package: Path) -> None:
    names = {path.name for path in (web_package / "onnx").iterdir()}
    graphs = {"model.onnx", "model_quantized.onnx", "model_fp16.onnx"}
    assert names == graphs | {f"{name}_data" for name in graphs}
    config = json.loads((web_package / "config.json").read_text("utf-8"))
    assert config["model_type"] == "gemma3_text"
    assert config["transformers.js_config"] == {
        "dtype": "q8",
        "use_external_data_format": dict.fromkeys(graphs, 1),
    }
    tokenizer = json.loads((web_package / "tokenizer_config.json").read_text("utf-8"))
    assert tokenizer["model_max_length"] == 512
    assert {"LICENSE", "README.md", "SHA256SUMS", "golden", "index.html", "prompts.json"} <= {
        path.name for path in web_package.iterdir()
    }
    readme = (web_package / "README.md").read_text("utf-8")
    assert "| `q8` | onnx-int8-web | 5.3 | pass |  |  | 0.900000 |" in readme
    assert len(readme.splitlines()) < 60


def test_two_packages_of_the_same_artifacts_are_equal_byte_for_byte(
    web_package: Path, web_artifacts: list[Judged], miniature: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    again = package_transformersjs(web_artifacts, tmp_path / "p", checkpoint=miniature, npm=npm)
    assert (again / "SHA256SUMS").read_bytes() == (web_package / "SHA256SUMS").read_bytes()


def test_node_gives_the_packages_vectors_through_auto_model_and_pipeline(
    web_package: Path, npm: Path
) -> None:
    report = verify_package(web_package, settings={"node_modules": npm, "runtime": ("node",)})
    found = checks(report)
    assert report.verdict == "pass", found
    for dtype in ("fp32", "q8", "fp16"):
        status, detail = found[f"{dtype} in node"]
        assert status == "pass"
        assert "11 texts agree, AutoModel and pipeline, cosine at least 0.99999" in detail or (
            "cosine at least 1.000000" in detail
        )
        assert f"transformers.js {TESTED}, onnxruntime-node" in detail


@needs_chromium
@pytest.mark.slow
def test_webgpu_gives_the_packages_vectors_where_it_has_the_shaders(
    tiny: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    """Texts of more than 32 tokens: there onnxruntime's fused attention would be wrong."""
    pytest.importorskip("playwright", reason="pip install playwright")
    quants = ("fp32", "int8", "fp16", "q4", "q4f16")
    made = [judged_onnx(tiny, tmp_path / quant, quant=quant) for quant in quants]
    output = package_transformersjs(made, tmp_path / "p", checkpoint=tiny, npm=npm)
    report = verify_package(output, settings={"runtime": ("webgpu", "chromium")})
    found = checks(report)
    assert report.verdict == "pass", found
    for dtype in ("fp32", "q8", "q4"):
        assert found[f"{dtype} in webgpu"][0] == "pass"
    for dtype in ("fp16", "q4f16"):
        status, detail = found[f"{dtype} in webgpu"]
        assert status == "info"
        assert detail.startswith("needs 16-bit shaders, which the adapter in software lacks")
        assert found[f"{dtype} in chromium"][0] == "pass"


@needs_chromium
def test_chromium_on_webassembly_gives_the_packages_vectors(
    web_artifacts: list[Judged], miniature: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    pytest.importorskip("playwright", reason="pip install playwright")
    int8 = web_artifacts[1:2]
    output = package_transformersjs(int8, tmp_path / "p", checkpoint=miniature, npm=npm)
    report = verify_package(output, settings={"runtime": ("chromium",)})
    assert report.verdict == "pass", checks(report)
    assert [check.name for check in report.checks[1:]] == ["q8 in chromium"]


def test_a_flipped_byte_and_a_missing_tokenizer_are_named(copy: Path) -> None:
    data = copy / "onnx" / "model_quantized.onnx_data"
    raw = bytearray(data.read_bytes())
    raw[1000] ^= 1
    data.write_bytes(raw)
    (copy / "tokenizer.json").unlink()
    status, detail = checks(verify_package(copy))["files"]
    assert status == "fail"
    assert "'onnx/model_quantized.onnx_data' was changed" in detail
    assert "'tokenizer.json' is missing" in detail


def without_end_token(package: Path) -> None:
    path = package / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    tokenizer["post_processor"]["single"].pop()
    path.write_text(json.dumps(tokenizer), "utf-8")


def another_table(package: Path) -> None:
    """The int8 embedding table, back to front."""
    graph = onnx.load(str(package / "onnx" / "model_quantized.onnx"), load_external_data=False)
    table = next(t for t in graph.graph.initializer if t.name == "embed_tokens")
    place = {entry.key: entry.value for entry in table.external_data}
    start = int(place["offset"])
    stop = start + int(place["length"])
    path = package / "onnx" / "model_quantized.onnx_data"
    raw = path.read_bytes()
    path.write_bytes(raw[:start] + raw[start:stop][::-1] + raw[stop:])


def another_prompt_of_the_vectors(package: Path) -> None:
    path = package / "golden" / "onnx-int8-web.json"
    golden = json.loads(path.read_text("utf-8"))
    golden["texts"][1]["vector"] = golden["texts"][2]["vector"]
    path.write_text(json.dumps(golden), "utf-8")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (without_end_token, "AutoModel: other token ids for '押金'"),
        (another_table, "AutoModel: another model is served"),
        (another_prompt_of_the_vectors, "from its vectors (1 - cosine), at most"),
    ],
)
def test_an_edited_package_whose_sums_were_written_anew_fails_its_vectors(
    copy: Path, npm: Path, edit: Any, expected: str
) -> None:
    edit(copy)
    seal(copy)
    report = verify_package(copy, settings={"node_modules": npm, "runtime": ("node",)})
    found = checks(report)
    assert report.verdict == "fail"
    assert expected in found["q8 in node"][1]


def test_a_graph_that_does_not_load_is_told_by_its_error(copy: Path, npm: Path) -> None:
    path = copy / "onnx" / "model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    seal(copy)
    report = verify_package(copy, settings={"node_modules": npm, "runtime": ("node",)})
    status, detail = checks(report)["q8 in node"]
    assert status == "fail"
    assert detail.startswith("Node: Error: ")
    assert checks(report)["fp32 in node"][0] == "pass"


def test_without_node_or_chromium_or_npm_verify_says_how_to_get_them(
    web_package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    npm: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(NODE_MODULES_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("verify", str(web_package), "--node-modules", str(npm)) == 3
    assert "'node', which is not installed; install it with: apt-get" in capsys.readouterr().err
    assert run("verify", str(web_package), "--runtime", "chromium") == 3
    assert "install it with: apt-get install chromium" in capsys.readouterr().err
    assert run("verify", str(web_package), "--runtime", "node") == 3
    assert INSTALL in capsys.readouterr().err


def test_without_transformers_js_the_package_is_made_without_the_page(
    web_artifacts: list[Judged],
    miniature: Checkpoint,
    tmp_path: Path,
    npm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(NODE_MODULES_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    output = package_transformersjs(
        web_artifacts[:1], tmp_path / "p", checkpoint=miniature, npm=None
    )
    assert not (output / "index.html").exists()
    assert not (output / "page").exists()
    assert "without the search page" in (output / "README.md").read_text("utf-8")
    settings = {"node_modules": npm, "runtime": ("node",)}
    assert verify_package(output, settings=settings).verdict == "pass"


def test_node_modules_are_looked_up_as_node_does(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = npm if npm.name == "node_modules" else npm / "node_modules"
    monkeypatch.delenv(NODE_MODULES_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert find_node_modules() is None
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "a" / "node_modules").symlink_to(modules)
    monkeypatch.chdir(below)
    found = find_node_modules()
    assert found is not None
    assert found.folder == modules.resolve()
    monkeypatch.setenv(NODE_MODULES_VARIABLE, str(tmp_path))
    with pytest.raises(BadInput, match="holds no @huggingface/transformers; run there: npm"):
        find_node_modules()


def fake_modules(folder: Path, version: str) -> Path:
    for name in (PACKAGE, "onnxruntime-web", "onnxruntime-node"):
        place = folder / "node_modules" / name
        place.mkdir(parents=True)
        (place / "package.json").write_text(json.dumps({"version": version}), "utf-8")
    return folder


def test_another_version_of_the_runtime_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"transformers\.js 3\.7\.0, too old; run: npm install"):
        find_node_modules(fake_modules(tmp_path / "old", "3.7.0"))
    newer = find_node_modules(fake_modules(tmp_path / "new", "4.9.0"))
    assert newer is not None
    with pytest.raises(BadInput, match=r"holds transformers\.js 4\.9\.0; the page is made and"):
        runtime_files(newer)


def test_a_runtime_that_is_not_what_npm_delivers_is_refused(npm: Path, tmp_path: Path) -> None:
    modules = npm if npm.name == "node_modules" else npm / "node_modules"
    for name in (PACKAGE, "onnxruntime-web", "onnxruntime-node"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copyfile(modules / name / "package.json", tmp_path / name / "package.json")
    shutil.copytree(modules / PACKAGE / "dist", tmp_path / PACKAGE / "dist")
    with (tmp_path / PACKAGE / "dist" / "transformers.min.js").open("a") as script:
        script.write("\n")
    found = find_node_modules(tmp_path)
    assert found is not None
    with pytest.raises(BadInput, match=f"is not the file of transformers.js {TESTED}; remove"):
        runtime_files(found)


def test_another_flavour_and_a_traced_graph_are_refused_by_name_and_remedy(
    miniature: Checkpoint, tmp_path: Path
) -> None:
    portable = judged_onnx(miniature, tmp_path / "a", quant="fp32", flavour="portable")
    with pytest.raises(BadInput, match=r"onnx-fp32\) is of the flavour portable.*--flavour web"):
        package_transformersjs([portable], tmp_path / "p", checkpoint=miniature, npm=None)
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["options"] = {"graph": "traced"}
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BadInput, match="is a traced graph, which browsers may not run"):
        package_transformersjs([portable], tmp_path / "p", checkpoint=miniature, npm=None)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("verdict", ["fail", "undecided", "none"])
def test_one_artifact_without_a_pass_keeps_the_whole_package_back(
    web_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path, verdict: Any
) -> None:
    bad = PackageVerdict(verdict=verdict, reasons=("overlap@10 is too low",))
    given = [web_artifacts[0], replace(web_artifacts[1], verdict=bad)]
    with pytest.raises(GateClosed, match="overlap@10 is too low"):
        package_transformersjs(given, tmp_path / "p", checkpoint=miniature, npm=None)
    assert not (tmp_path / "p").exists()


def test_an_override_stands_in_readme_and_manifest(
    web_artifacts: list[Judged], miniature: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    told = PackageVerdict(verdict="fail", reasons=("x",), override_reason="for a demonstration")
    given = [replace(web_artifacts[1], verdict=told)]
    output = package_transformersjs(given, tmp_path / "p", checkpoint=miniature, npm=npm)
    readme = (output / "README.md").read_text("utf-8")
    assert "fail: **packaged without a pass**, for a demonstration" in readme
    manifest = json.loads((output / "manifest.json").read_text("utf-8"))
    assert manifest["artifacts"][0]["verdict"]["override_reason"] == "for a demonstration"


def test_two_of_one_scheme_and_other_kinds_are_refused(
    web_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="are both int8"):
        package_transformersjs(
            [web_artifacts[1]] * 2, tmp_path / "p", checkpoint=miniature, npm=None
        )


def test_options_of_another_consumer_and_unknown_runtimes_are_refused(web_package: Path) -> None:
    with pytest.raises(BadInput, match="packages for transformersjs take no --batch-size"):
        verify_package(web_package, settings={"batch_size": 3})
    with pytest.raises(BadInput, match="unknown --runtime 'nod'; did you mean 'node'"):
        verify_package(web_package, settings={"runtime": ("nod",)})
    assert run("verify", str(web_package), "--runtime", "node", "--url", "http://localhost:1") == 2


def test_embed_mjs_applies_prompts_and_cuts_as_python_does(
    web_package: Path, web_artifacts: list[Judged], npm: Path, miniature: Checkpoint, tmp_path: Path
) -> None:
    from exporter.packages.transformersjs.node import run_in_node

    modules = find_node_modules(npm)
    assert modules is not None
    script = tmp_path / "ask.mjs"
    script.write_text(
        """
        let input = ""; for await (const part of process.stdin) input += part;
        const task = JSON.parse(input);
        const { openModel } = await import(task.embed);
        const model = await openModel(await import(task.transformers));
        const vector = await model.embedDocument(task.title, task.text, { dim: 64 });
        const other = await openModel(await import(task.transformers), { dtype: "q2" })
          .catch((error) => error.message);
        console.log(JSON.stringify({ dtype: model.dtype, vector: [...vector], other,
          query: [...await model.embedQuery(task.text)],
          untitled: [...await model.embedDocument("", task.text)] }));
        """,
        "utf-8",
    )
    title, text = "示例条例 第一条", "押金{text}应当退还。" * 200
    task = {
        "embed": (web_package / "embed.mjs").as_uri(),
        "transformers": modules.entry.as_uri(),
        "title": title,
        "text": text,
    }
    answer = run_in_node(script, task)
    encoder = OnnxEncoder(web_artifacts[1].folder, threads=1)
    rendered = [
        miniature.prompts.render_document(text, title=title),
        miniature.prompts.render_query(text),
    ]
    assert answer["dtype"] == "q8"
    small = encoder.encode(rendered[:1], dim=64)[0]
    assert float(small @ answer["vector"]) > 0.999
    assert float(encoder.encode(rendered[1:])[0] @ answer["query"]) > 0.999
    assert answer["other"] == "dtype q2 is none of fp32, q8, fp16"
    untitled = encoder.encode([miniature.prompts.render_document(text, title="")])[0]
    assert float(untitled @ answer["untitled"]) > 0.999


def test_the_server_gives_its_folders_and_nothing_beside_them(tmp_path: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    from exporter.packages.transformersjs.chromium import serve

    (tmp_path / "secret").write_text("no", "utf-8")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.mjs").write_text("yes", "utf-8")
    with serve({"/p/": inside, "/one.wasm": inside / "a.mjs"}) as url:
        with urlopen(f"{url}/p/a.mjs") as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"yes", "text/javascript")
        with urlopen(f"{url}/one.wasm") as answer:
            assert answer.read() == b"yes"
        for path in ("/p/../secret", "/p/%2e%2e/secret", "/secret", "/"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(url + path)


def test_vectors_of_articles_by_another_file_are_found_out(copy: Path, npm: Path) -> None:
    (path,) = (copy / "vectors").glob("int8.*")
    data = path.read_bytes()
    path.write_bytes(data[:2400] + data[:1:-1][: len(data) - 2400])  # scales kept, codes turned
    seal(copy)
    report = verify_package(copy, settings={"node_modules": npm, "runtime": ("node",)})
    status, detail = checks(report)["q8 in node"]
    assert status == "fail"
    assert "stored vectors of articles" in detail
    assert checks(report)["fp32 in node"][0] == "pass"
