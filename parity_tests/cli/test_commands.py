import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity_tests.conftest import REPOSITORY


def lawvault(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )


def test_inspect_prints_findings_and_json(tiny_path: Path, tmp_path: Path) -> None:
    ran = lawvault("inspect", "--checkpoint", str(tiny_path), cwd=tmp_path)
    assert ran.returncode == 0
    assert "window-intact" in ran.stdout
    ran = lawvault("inspect", "--json", cwd=tmp_path, LAWVAULT_CHECKPOINT=str(tiny_path))
    data = json.loads(ran.stdout)
    assert data["dim"] == 64
    assert {"id", "severity", "evidence", "effect", "remedy"} == set(data["findings"][0])


def test_inspect_exits_with_1_on_an_error_finding(broken: Path, tmp_path: Path) -> None:
    path = broken / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["model"]["merges"] = []
    path.write_text(json.dumps(data), encoding="utf-8")
    ran = lawvault("inspect", "--checkpoint", str(broken), cwd=tmp_path)
    assert ran.returncode == 1
    assert "tokenizers-disagree" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["inspect", "--checkpoint", "nowhere"], "no such checkpoint folder: 'nowhere'"),
        (["export", "gguf", "--type", "q9"], "unknown --type 'q9'"),
        (["export", "onnx", "--quant", "int88"], "did you mean 'int8'"),
        (["export", "onnx", "--dim", "65"], "--dim 65 is not one"),
        (["export", "onnx", "--prompts", "qery=x"], "neither a file nor"),
        (["parity", "nowhere"], "no such artifact folder: 'nowhere'"),
        (["parity", "nowhere", "--recipe", "r.toml"], "no such recipe: 'r.toml'"),
        (["parity", "nowhere", "--corpus", "c"], "no such corpus folder: 'c'"),
        (["parity", "nowhere", "--dims", "a"], "--dims 'a' is not a list"),
        (["package", "ollama", "nowhere"], "no such artifact folder"),
        (["release", "--recipe", "r.toml"], "no such recipe"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2(
    tiny_path: Path, tiny_corpus: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(tiny_path)]
    if arguments[0] in ("parity", "release") and "--corpus" not in arguments:
        arguments += ["--corpus", str(tiny_corpus)]
    ran = lawvault(*arguments, cwd=tmp_path)
    assert ran.returncode == 2, ran.stderr
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert expected in errors[0]
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = lawvault("inspect", "--checkpoint", "nowhere", "--debug", cwd=tmp_path)
    assert ran.returncode == 2
    assert "Traceback" in ran.stderr


def test_a_missing_extra_is_exit_code_3_with_the_install_line(
    tiny_path: Path, tmp_path: Path
) -> None:
    # A real environment without the extra: the package is hidden from the import system.
    code = (
        "import sys, importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'onnx' else find(n, *a)\n"
        "from exporter.cli.main import main\n"
        f"main(['export', 'onnx', '--checkpoint', {str(tiny_path)!r}])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert ran.returncode == 3
    assert "pip install 'lawvault-exporter[onnx]'" in ran.stderr


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, tiny_path: Path) -> None:
    code = (
        # A shell that starts the tests in the background has SIGINT ignored, and children inherit.
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from exporter.quantization.weights import ModelWeights as b\n"
        "from exporter.cli.main import main\nreal = b.head\n"
        "def slow(*a, **k):\n    print('working', flush=True)\n    time.sleep(30)\n"
        "    return real(*a, **k)\n"
        "b.head = slow\n"
        f"main(['export', 'onnx', '--checkpoint', {str(tiny_path)!r}, '--output', 'out'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted; nothing unfinished was kept" in errors
    assert list(tmp_path.iterdir()) == []


def test_export_parity_and_package_by_hand(
    tiny_path: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("llama_cpp")
    common = ["--checkpoint", str(tiny_path)]
    ran = lawvault("export", "gguf", "--type", "f32", *common, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    artifact = tmp_path / "artifacts" / "tiny" / "gguf-f32"
    assert f"next: lawvault parity {artifact.relative_to(tmp_path)}" in ran.stdout
    ran = lawvault("parity", str(artifact), "--corpus", str(tiny_corpus), *common, cwd=tmp_path)
    # Seven questions on random weights may leave MRR undecided; the report must say which limit.
    assert ran.returncode in (0, 1), ran.stderr
    assert (tmp_path / "artifacts" / "tiny" / "parity.md").is_file()
    assert "gguf-f32" in ran.stdout
    ran = lawvault(
        "package", "ollama", str(artifact), "--override-verdict", "a test", *common, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "artifacts/tiny/packages/ollama-f32/Modelfile").is_file()
