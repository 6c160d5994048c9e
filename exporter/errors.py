"""The errors a user can meet. Each carries the exit code of the command line.

A message says what is wrong, where, and what to do next, in one line.
"""

import difflib
import importlib.util
from collections.abc import Iterable, Mapping

EXTRAS: Mapping[str, str] = {
    "torch": "torch",
    "transformers": "torch",
    "sentence_transformers": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "gguf": "gguf",
    "llama_cpp": "llamacpp",
    "openvino": "openvino",
    "litert_torch": "litert-export",
    "ai_edge_litert": "litert",
    "lancedb": "index",
    "pyarrow": "index",
    "peft": "adapter",
    "playwright": "browser",
    "optimum": "traced",
    "model_signing": "sign",
    "ray": "ray",
    "modelscope_hub": "modelscope",
}
"""The extra of pyproject.toml that brings a module."""


class LawvaultError(Exception):
    """Base of every error that is the user's to mend; printed as one line."""

    exit_code = 2


class BadInput(LawvaultError):
    """Wrong usage, or an input that cannot be used. Exit code 2."""


class GateClosed(LawvaultError):
    """An artifact did not pass its limits. Exit code 1."""

    exit_code = 1


class MissingDependency(LawvaultError):
    """Optional dependencies are not installed. Exit code 3.

    `install`: how to get what no extra brings.
    """

    exit_code = 3

    def __init__(self, *modules: str, install: str = "") -> None:
        extras = dict.fromkeys(EXTRAS.get(name.partition(".")[0], "all") for name in modules)
        how = install or f"pip install 'lawvault-exporter[{','.join(extras)}]'"
        names = " and ".join(f"'{module}'" for module in modules)
        are, them = ("are", "them") if len(modules) > 1 else ("is", "it")
        super().__init__(
            f"this step needs {names}, which {are} not installed; install {them} with: {how}"
        )


def require(*modules: str) -> None:
    """Raise MissingDependency, naming all that are missing, unless `modules` are installed.

    Nothing is imported.
    """
    missing = [name for name in dict.fromkeys(modules) if not _is_installed(name)]
    if missing:
        raise MissingDependency(*missing)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def reason_of(error: BaseException) -> str:
    """Return the first line of what a library's error says, its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unknown_name(what: str, name: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that is not in `known`, with the nearest one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return BadInput(f"unknown {what} '{name}'{hint} (known: {', '.join(names)})")
