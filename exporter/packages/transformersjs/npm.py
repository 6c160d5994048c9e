"""Where the npm package of transformers.js lies, and whether it is one that this tool knows.

Nothing is downloaded here: npm checks what it fetches, this tool checks what it copies.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import BadInput, MissingDependency
from exporter.hashing import sha256_file

PACKAGE = "@huggingface/transformers"
TESTED = "4.3.1"
OLDEST = (4, 3, 1)
# --ignore-scripts: onnxruntime-node's would fetch CUDA libraries, which nothing here needs.
INSTALL = f"npm install --ignore-scripts {PACKAGE}@{TESTED}"
# With the lock beside it: npm then refuses a package whose hash is another.
INSTALL_HERE = "npm ci --ignore-scripts"
NPM_FILES = ("package.json", "package-lock.json")
NODE_MODULES_VARIABLE = "LAWVAULT_NODE_MODULES"
WASM = {
    "wasm": "ort-wasm-simd-threaded",
    # Also runs on WebGPU, but takes seconds to compile.
    "webgpu": "ort-wasm-simd-threaded.asyncify",
}
TRANSFORMERS_FILE = f"{PACKAGE}/dist/transformers.min.js"
# SHA-256 of what runs in a browser, as npm delivers it for TESTED.
RUNTIME_FILES = {
    TRANSFORMERS_FILE: "8d6716d9086f57c30a4bf367dba61b887593573c770c454465e8019b2703e743",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs": "c57ca56328877353a575e51bbca6f18450027d6c9bf2307a2cb2c41363b4de9f",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "06ba057753da3847e4c24f02d91ab133455b0817c69a44993a9a53a2146df9e3",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs": "0966b6105cd936744498aa60df7a22cbd47af3374dbc64a9ab561c08a71e3611",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm": "49871f5a4409519797e127440868a6d1923339d9185907f301a5b2a1d90af082",
}


@dataclass(frozen=True)
class NodeModules:
    """A folder of npm packages that holds transformers.js, and the versions that lie in it."""

    folder: Path
    transformers: str
    onnxruntime_web: str
    onnxruntime_node: str

    @property
    def entry(self) -> Path:
        """Return the module that Node imports."""
        exports = _package_json(self.folder / PACKAGE)["exports"]
        return self.folder / PACKAGE / str(exports["node"]["import"]["default"])


def find_node_modules(given: Path | None = None) -> NodeModules | None:
    """Return `given`, else $LAWVAULT_NODE_MODULES, else what Node would find from the working
    folder; None where the last finds nothing.

    Raises BadInput where a folder that was named holds no transformers.js, or for a version that
    is too old.
    """
    named = given or (
        Path(os.environ[NODE_MODULES_VARIABLE]) if os.environ.get(NODE_MODULES_VARIABLE) else None
    )
    if named is None:
        places = [Path.cwd(), *Path.cwd().parents]
        found = next(
            (p / "node_modules" for p in places if (p / "node_modules" / PACKAGE).is_dir()), None
        )
        return None if found is None else _described(found)
    inner = named / "node_modules"
    folder = inner if inner.is_dir() else named
    if not (folder / PACKAGE / "package.json").is_file():
        raise BadInput(f"'{named}' holds no {PACKAGE}; run there: {INSTALL}")
    return _described(folder)


def require_node_modules(given: Path | None = None) -> NodeModules:
    """Return what `find_node_modules` finds. Raises MissingDependency where it finds nothing."""
    found = find_node_modules(given)
    if found is None:
        raise MissingDependency(
            PACKAGE,
            install=f"{INSTALL} (in the working folder, or name another place with "
            f"--node-modules FOLDER or ${NODE_MODULES_VARIABLE})",
        )
    return found


def runtime_files(modules: NodeModules) -> list[Path]:
    """Return the files that a page needs to run. Raises BadInput for any other than the tested
    version's, byte for byte."""
    again = f"remove '{modules.folder}' and run: {INSTALL}"
    if modules.transformers != TESTED:
        raise BadInput(
            f"'{modules.folder}' holds transformers.js {modules.transformers}; the page "
            f"is made and tested with {TESTED}; {again}"
        )
    for name, expected in RUNTIME_FILES.items():
        path = modules.folder / name
        if not path.is_file():
            raise BadInput(f"'{path}' is missing; {again}")
        if sha256_file(path) != expected:
            raise BadInput(f"'{path}' is not the file of transformers.js {TESTED}; {again}")
    return [modules.folder / name for name in RUNTIME_FILES]


def _described(folder: Path) -> NodeModules:
    folder = folder.resolve()
    version = _version(folder / PACKAGE)
    numbers = tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())
    if numbers < OLDEST:
        raise BadInput(f"'{folder}' holds transformers.js {version}, too old; run: {INSTALL}")
    return NodeModules(
        folder,
        transformers=version,
        onnxruntime_web=_version(folder / "onnxruntime-web"),
        onnxruntime_node=_version(folder / "onnxruntime-node"),
    )


def _version(folder: Path) -> str:
    return str(_package_json(folder)["version"])


def _package_json(folder: Path) -> dict[str, Any]:
    path = folder / "package.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"'{path}' cannot be read ({error}); run: {INSTALL}") from None
    if not isinstance(data, dict) or "version" not in data:
        raise BadInput(f"'{path}' names no version; run: {INSTALL}")
    return data
