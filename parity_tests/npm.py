"""transformers.js from npm, installed once for all tests, or a visible skip."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.packages.transformersjs.npm import INSTALL_HERE, NODE_MODULES_VARIABLE, NPM_FILES
from exporter.packages.transformersjs.packager import STATIC


def install_transformers(folder: Path) -> Path:
    """Return a folder whose node_modules holds the tested version: $LAWVAULT_NODE_MODULES, or
    `folder` after an installation. Skips where npm cannot fetch."""
    if os.environ.get(NODE_MODULES_VARIABLE):
        return Path(os.environ[NODE_MODULES_VARIABLE])
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine: apt-get install nodejs npm")
    for name in NPM_FILES:
        shutil.copyfile(STATIC / name, folder / name)
    try:
        ran = subprocess.run(
            [*INSTALL_HERE.split(), "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot fetch transformers.js: no answer in 200 seconds")
    if ran.returncode:
        pytest.skip(f"npm cannot fetch transformers.js: {ran.stderr.strip().splitlines()[-1:]}")
    return folder
