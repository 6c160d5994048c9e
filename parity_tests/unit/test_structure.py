"""The rules of ARCHITECTURE.md, held by reading the source."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from exporter.registry import ALL_REGISTRIES, resolve
from parity_tests.conftest import REPOSITORY

EXPORTER = REPOSITORY / "exporter"
LAYERS = (
    ("cli",),
    ("api",),
    ("release",),
    ("report",),
    ("evaluation",),
    ("tables", "packages"),
    ("parity",),
    ("cluster",),
    ("formats",),
    ("vectors", "guards"),
    ("runtimes", "quantization", "vocabulary"),
    ("architectures",),
    ("recipe", "manifest"),
    ("space",),
    ("corpus",),
    ("checkpoint",),
    ("bundled", "staging"),
    ("format",),
    ("registry",),
    ("hashing", "markdown_text", "offline", "parsing", "progress", "quiet", "records", "templates"),
    ("errors",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TORCH_ALLOWED = (
    "runtimes/torch_reference.py",
    "runtimes/peft_layers.py",
    "packages/sentence_transformers/backend.py",
    "quantization/",
    "formats/onnx/traced.py",
)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules() -> list[Path]:
    return [p for p in sorted(EXPORTER.rglob("*.py")) if p.name != "__main__.py"]


def part(path: Path) -> str:
    relative = path.relative_to(EXPORTER)
    return relative.parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports() -> dict[str, set[str]]:
    """Return each module of the package -> the modules of the package that it imports anywhere."""
    known = {module_name(path): path for path in modules()}
    return {
        name: {
            found
            for found in (
                imported if imported in known else imported.rpartition(".")[0]
                for imported in imports(path)
            )
            if found in known and found != name
        }
        for name, path in known.items()
        if name != "exporter"  # looks its names up when asked for them
    }


def test_imports_go_down_only() -> None:
    for name, imported in own_imports().items():
        own = name.split(".")[1:2]
        for other in imported:
            theirs = other.split(".")[1:2]
            if own and theirs and own != theirs:
                assert LEVEL[theirs[0]] > LEVEL[own[0]], f"{name} imports {other}"


@pytest.mark.parametrize("room", ["formats", "architectures", "packages"])
def test_what_varies_does_not_know_its_siblings(room: str) -> None:
    folders = {path.name for path in (EXPORTER / room).iterdir() if path.is_dir()}
    for name, imported in own_imports().items():
        for other in imported:
            (*_, own), (*_, theirs) = name.split(".")[:3], other.split(".")[:3]
            inside = f"exporter.{room}."
            if name.startswith(inside) and other.startswith(inside) and {own, theirs} <= folders:
                assert own == theirs, f"{name} imports {other}"


def test_targets_do_not_know_each_other() -> None:
    inside = "exporter.release.targets."
    found = {name: others for name, others in own_imports().items() if name.startswith(inside)}
    assert found
    for name, imported in found.items():
        assert not [other for other in imported if other.startswith(inside)], name


def test_no_module_imports_itself_in_a_circle() -> None:
    below = own_imports()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(below.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_parity_knows_only_the_encoder_protocol() -> None:
    for path in (EXPORTER / "parity").glob("*.py"):
        runtimes = {n for n in imports(path) if n.startswith("exporter.runtimes")}
        assert runtimes <= {"exporter.runtimes.encoder"}, path


def test_click_and_torch_stay_in_their_places() -> None:
    for path in modules():
        relative = path.relative_to(EXPORTER).as_posix()
        roots = {name.split(".")[0] for name in imports(path)}
        if not relative.startswith("cli/"):
            assert not roots & {"click", "rich"}, relative
        if not relative.startswith(TORCH_ALLOWED):
            assert not roots & {"torch", "transformers", "sentence_transformers", "peft"}, relative
        if not relative.startswith("tables/"):
            assert not roots & {"lancedb", "pyarrow"}, relative
        if not relative.startswith("cluster/"):
            assert "ray" not in roots, relative


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["parity", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom exporter.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'gguf', 'llama_cpp', "
        "'lancedb', 'ray'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in ran.stdout


def test_every_registered_name_resolves() -> None:
    for kind, registry in ALL_REGISTRIES.items():
        assert registry, kind
        for name in registry:
            assert resolve(registry, name, what=kind) is not None


def test_all_never_brings_both_onnxruntimes() -> None:
    data = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    extras = data["project"]["optional-dependencies"]

    def expand(name: str) -> set[str]:
        found = set()
        for requirement in extras[name]:
            if requirement.startswith("lawvault-exporter["):
                for inner in requirement[18:-1].split(","):
                    found |= expand(inner)
            else:
                found.add(requirement.split(">")[0].split("=")[0])
        return found

    assert "onnxruntime-gpu" in expand("gpu")
    assert "onnxruntime-gpu" not in expand("all")
    assert "onnxruntime" not in expand("gpu")
    assert "onnxruntime" in expand("all")


def test_the_docs_hold_the_generated_command_reference() -> None:
    from exporter.cli.reference import command_reference

    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert command_reference() in page, "run: python -m exporter.cli.reference docs/commands.md"
