"""What is read of files that come from anyone: each reader with a sound file to start from."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.safetensors_file import read_header
from exporter.cli.common import parse_prompts
from exporter.corpus.beir import read_corpus
from exporter.corpus.questions import read_questions
from exporter.errors import LawvaultError
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.lint import lint_gguf
from exporter.guards.read import read_space
from exporter.manifest import read_manifest
from exporter.packages.golden import Golden
from exporter.packages.manifest import PackageManifest
from exporter.packages.verify import read_record
from exporter.recipe import read_recipe
from parity_tests.conftest import REPOSITORY
from parity_tests.tiny_adapter import CONFIG, tensors_of, write_adapter
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

MUTATED_BYTES = 20_000
"""Of a large file, from its beginning: its header."""


@dataclass(frozen=True)
class Target:
    """A reader, the file it reads, and the sound content of it."""

    read: Callable[[], object]
    file: Path
    sound: bytes

    def run(self, content: bytes) -> None:
        """Read `content` in place of the file: a value or a LawvaultError, and nothing else."""
        self.file.write_bytes(content + self.sound[MUTATED_BYTES:])
        with suppress(LawvaultError):
            self.read()


def make_targets(folder: Path) -> dict[str, Target]:
    """Return the targets; their files lie below `folder`."""
    checkpoint = make_tiny_checkpoint(folder / "checkpoint")
    export_gguf(read_checkpoint(checkpoint), folder / "gguf")
    corpus = make_tiny_corpus(folder / "corpus", documents=12, questions=6)
    (folder / "recipe.toml").write_bytes((REPOSITORY / "recipes" / "default.toml").read_bytes())
    (folder / "prompts.json").write_text('{"query": "q: {text}", "document": "{title} {text}"}')
    (folder / "golden.json").write_text(
        '{"schema_version": 2, "artifact": "a", "query_prompt": "", "document_prompt": "", '
        '"texts": [{"kind": "query", "text": "x", "token_ids": [2, 1], "vector": [1.0, 0.0], '
        '"reference": [1.0, 0.0], "distance_max": 0.1}], "mistakes": [{"said": "y", "at": [0], '
        '"vectors": [[0.0, 1.0]]}]}'
    )
    manifest = folder / "gguf" / "manifest.json"
    packaged = folder / "package.json"
    packaged.write_text(
        '{"package": "ollama", "artifacts": [{"artifact": '
        + manifest.read_text("utf-8")
        + ', "artifact_manifest_sha256": "0", "verdict": {"verdict": "pass"}, "file": "a", '
        '"golden": "b", "space": "c"}], "files": [{"path": "a", "size_bytes": 1, "sha256": "0"}, '
        '{"path": "b", "size_bytes": 1, "sha256": "0"}, {"path": "c", "size_bytes": 1, '
        '"sha256": "0"}]}',
        "utf-8",
    )
    # Checkpoints are read whole: a copy for each file, so that the others stay sound.
    copies = {
        name: Path(shutil.copytree(checkpoint, folder / f"of-{name.partition('.')[0]}"))
        for name in ("config.json", "modules.json", "tokenizer_config.json")
    }
    questions = shutil.copyfile(corpus / "queries.jsonl", folder / "questions.jsonl")
    graded = Path(shutil.copytree(corpus, folder / "graded"))
    gguf = next((folder / "gguf").glob("*.gguf"))
    weights = checkpoint / "model.safetensors"
    space = shutil.copyfile(folder / "gguf" / "space.json", folder / "space.json")
    readers: dict[str, tuple[Callable[[], object], Path]] = {
        "gguf": (lambda: lint_gguf(gguf), gguf),
        "safetensors": (lambda: read_header(weights), weights),
        "manifest": (lambda: read_manifest(folder / "gguf"), manifest),
        "package": (lambda: read_record(packaged, PackageManifest), packaged),
        "golden": (lambda: read_record(folder / "golden.json", Golden), folder / "golden.json"),
        "space": (lambda: read_space(space), space),
        "recipe": (lambda: read_recipe(folder / "recipe.toml"), folder / "recipe.toml"),
        "prompts": (lambda: parse_prompts(str(folder / "prompts.json")), folder / "prompts.json"),
        "corpus": (lambda: read_corpus(corpus), corpus / "corpus.jsonl"),
        "qrels": (lambda: read_corpus(graded), graded / "qrels" / "test.tsv"),
        "questions": (lambda: read_questions(questions), questions),
    }
    readers |= _of_adapter(folder / "adapted")
    for name, copy in copies.items():
        readers[name] = (lambda copy=copy: read_checkpoint(copy), copy / name)  # type: ignore[misc]
    return {
        name: Target(read, Path(file), Path(file).read_bytes())
        for name, (read, file) in readers.items()
    }


def _of_adapter(folder: Path) -> dict[str, tuple[Callable[[], object], Path]]:
    base = make_tiny_checkpoint(folder / "model", hidden=48, layers=2, matryoshka_dims=(48,))
    found: dict[str, tuple[Callable[[], object], Path]] = {}
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        config = {**CONFIG, "alpha_pattern": {"q_proj": 2}}
        adapter = write_adapter(folder / name.partition(".")[0], config, tensors_of())
        found[name] = (lambda of=adapter: read_checkpoint(of, base=str(base)), adapter / name)  # type: ignore[misc]
    return found
