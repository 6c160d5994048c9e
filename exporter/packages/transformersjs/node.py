"""Scripts of this tool in the Node that lies on the PATH."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from exporter.errors import BadInput, MissingDependency

OLDEST = 18
TIMEOUT_S = 1800.0


def find_node() -> str:
    """Return the path of Node. Raises MissingDependency without one of at least version 18."""
    found = shutil.which("node")
    if found is None:
        raise MissingDependency(
            "node",
            install="apt-get install nodejs, brew install node, or "
            f"nodejs.org; version {OLDEST} or newer",
        )
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version.group(1)) < OLDEST:
        raise MissingDependency(
            f"node {OLDEST} or newer",
            install=f"nodejs.org; '{found}' is {said.strip() or 'no Node'}",
        )
    return found


def run_in_node(script: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Give `task` to `script` as JSON on standard input, and return the JSON that it prints.

    Raises BadInput with what the script said where it fails.
    """
    try:
        ran = subprocess.run(
            [find_node(), str(script)],
            input=json.dumps(task),
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(f"Node gave no answer within {TIMEOUT_S:.0f} s") from None
    if ran.returncode:
        raise BadInput(f"Node: {first_line(ran.stderr)}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def first_line(said: str) -> str:
    """Return the line of a JavaScript error that says what was wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next(
        (line for line in lines if re.match(r"(\w*Error|\[?\w+\]?): ", line)),
        lines[0] if lines else "it said nothing",
    )
