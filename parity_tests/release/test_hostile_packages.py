"""Nothing of a package or an artifact that came from elsewhere is run, followed or believed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.onnx.export import export_onnx
from exporter.manifest import read_manifest
from exporter.packages.sentence_transformers.verifier import foreign_modules, verify_files
from exporter.packages.shipped import foreign_scripts
from exporter.packages.transformersjs.scripts import scripts_of_transformersjs
from exporter.packages.verify import read_package
from exporter.release.package_one import package_artifacts
from parity_tests.conftest import REPOSITORY
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.fixture(scope="module")
def artifact(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "a"
    export_onnx(tiny, folder, scheme="fp32")
    return folder


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(entry="../evil.onnx"), "no relative path inside the folder"),
        (lambda m: m.update(entry="/etc/passwd"), "no relative path inside the folder"),
        (lambda m: m.update(entry="C:evil.onnx"), "no relative path inside the folder"),
        (lambda m: m.update(entry="a\\b.onnx"), "no relative path inside the folder"),
        (lambda m: m.update(name="../../evil"), "no name of a file or folder"),
        (lambda m: m.update(model_name="a/b"), "no name of a file or folder"),
        (lambda m: m.update(scheme="a\x1b[31m"), "no relative path inside the folder"),
        (lambda m: m.update(files=[]), "is not among the files"),
        (lambda m: m["files"][0].update(path="x/../../y"), "no relative path inside the folder"),
        (lambda m: m.update(dim=0), "greater than or equal to 1"),
        (lambda m: m.update(max_tokens=-1), "greater than or equal to 1"),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(
    artifact: Path, tmp_path: Path, change: Change, message: str
) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "a"))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BadInput, match=message):
        read_manifest(folder)


def test_a_package_manifest_names_only_files_of_the_package(
    artifact: Path, tiny: Checkpoint, tmp_path: Path
) -> None:
    output = tmp_path / "p"
    package_artifacts(
        "onnxruntime", [artifact], output, checkpoint=tiny, report=None, override_reason="a test"
    )
    manifest = json.loads((output / "manifest.json").read_text("utf-8"))
    for path, message in (
        ("../golden.json", "no relative path inside the folder"),
        ("other.json", "is not among the files"),
    ):
        manifest["artifacts"][0]["golden"] = path
        (output / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        with pytest.raises(BadInput, match=message):
            read_package(output)


def test_another_checkpoint_is_refused_before_a_model_is_loaded(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "exporter.release.package_one.measure_truth", lambda _: pytest.fail("was loaded")
    )
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "t", hidden=96, matryoshka_dims=()))
    with pytest.raises(BadInput, match="was not made from"):
        package_artifacts(
            "onnxruntime",
            [artifact],
            tmp_path / "p",
            checkpoint=other,
            report=None,
            override_reason="a test",
        )


def modules_folder(folder: Path, modules: list[dict[str, Any]]) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "config.json").write_text("{}", "utf-8")
    return folder


def test_modules_of_the_library_are_taken(tmp_path: Path) -> None:
    assert foreign_modules(modules_folder(tmp_path / "m", MODULES)) == []


@pytest.mark.parametrize("kind", ["modeling.Evil", "sentence_transformers_evil.models.Dense"])
def test_a_module_of_the_packages_own_is_not_run(tmp_path: Path, kind: str) -> None:
    named = [*MODULES, {"idx": 2, "name": "2", "path": "", "type": kind}]
    folder = modules_folder(tmp_path / "m", named)
    (folder / "modeling.py").write_text("raise SystemExit('was run')", "utf-8")
    (folder / "config.json").write_text('{"auto_map": {}}', "utf-8")
    (proof,) = verify_files(folder, None, None)  # type: ignore[arg-type]
    told = " ".join(proof.failures)
    assert f"unknown module class '{kind}'" in told
    assert "'modeling.py' is not what this version of the tool ships" in told
    assert "has auto_map" in told


def test_a_script_that_the_tool_does_not_ship_is_not_run(tmp_path: Path) -> None:
    shipped = scripts_of_transformersjs()
    static = REPOSITORY / "exporter" / "packages" / "transformersjs" / "static"
    shutil.copyfile(static / "embed.mjs", tmp_path / "embed.mjs")
    assert foreign_scripts(tmp_path, shipped) == []
    with (tmp_path / "embed.mjs").open("a", encoding="utf-8") as script:
        script.write("fetch('http://127.0.0.1:9/');\n")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "more.js").write_text("1", "utf-8")
    told = foreign_scripts(tmp_path, shipped)
    assert [line.split("'")[1] for line in told] == ["embed.mjs", "page/more.js"]


def test_a_config_that_claims_a_billion_layers_is_refused_at_once(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "t")
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["layer_types"]
    path.write_text(json.dumps({**config, "num_hidden_layers": 10**9}), "utf-8")
    with pytest.raises(BadInput, match="num_hidden_layers is 1000000000, more than 1000"):
        read_checkpoint(folder)


WATCHED = """
import socket, sys
def refuse(*names, **_):
    print("looked up", names, file=sys.stderr)
    raise OSError("no network in this test")
socket.getaddrinfo = socket.create_connection = refuse
from exporter.formats.openvino.library import openvino_module
openvino = openvino_module()
openvino.Core()
import openvino.tools.ovc.telemetry_utils as told
assert "stub" in told.tm.__name__, told.tm
"""


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={"HOME": str(tmp_path), "PATH": ""},
    )
    assert ran.returncode == 0, ran.stderr
    assert "looked up" not in ran.stderr
    assert not list(tmp_path.iterdir())
