"""The wheel, installed by pip into an environment of its own, outside the repository."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from parity_tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LAWVAULT"))}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has the wheel without any extra."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    built = run(*pip, "wheel", "--no-deps", "-w", folder, REPOSITORY, cwd=folder)
    if built.returncode and not os.environ.get("CI"):
        pytest.skip(f"pip cannot build a wheel here: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    found = run(folder / "venv/bin/pip", "--quiet", "install", wheel, cwd=folder)
    assert found.returncode == 0, found.stderr
    return folder / "venv" / "bin" / "lawvault"


def test_the_bundled_miniature_and_recipes_come_with_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    inspected = run(installed, "inspect", "--json", cwd=tmp_path)
    assert inspected.returncode == 0, inspected.stderr
    assert "using the bundled miniature" in inspected.stderr
    assert str(REPOSITORY) not in inspected.stdout


def test_the_bundled_corpus_and_calibration_texts_come_with_it(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from exporter.corpus.beir import read_corpus as c\n"
        "from exporter.corpus.calibration import read_calibration as r\n"
        "from exporter.recipe import bundled_recipe as b, read_recipe\n"
        "path = b('demo')\n"
        "print(len(c(path.parent / read_recipe(path).corpus).query_ids), len(r(None)))"
    )
    ran = run(installed.with_name("python"), "-c", code, cwd=tmp_path)
    assert ran.stdout.split() == ["600", "605"], ran.stderr


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("export onnx", "onnx"),
        ("export onnx --quant int8", "onnx,torch"),
        ("export gguf", "gguf"),
        ("export gguf --type q4_k_m", "gguf"),
        ("export openvino", "openvino"),
        ("export litert", "litert-export"),
        ("evaluate", "torch"),
        ("lint any.gguf", "gguf"),
        ("demo", "torch,onnx,openvino,gguf,llamacpp"),
        ("release", "torch,onnx,openvino,gguf,llamacpp"),
    ],
)
def test_a_base_install_exits_3_with_one_line_that_works_anywhere(
    installed: Path, tmp_path: Path, command: str, extras: str
) -> None:
    ran = run(installed, *command.split(), cwd=tmp_path)
    assert ran.returncode == 3, ran.stderr
    assert (
        ran.stderr.strip().splitlines()[-1].endswith(f"pip install 'lawvault-exporter[{extras}]'")
    )
    assert not list(tmp_path.iterdir())
