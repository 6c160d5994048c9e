"""The folder of a checkpoint: is it one, does it stay within itself, what is it called."""

from collections.abc import Sequence
from pathlib import Path

from exporter.checkpoint.adapters.record import CONFIG_NAME, WEIGHTS_NAME, is_adapter
from exporter.checkpoint.contents import Finding, ModuleInfo
from exporter.checkpoint.weights import weight_files
from exporter.errors import BadInput

OTHER_HEADS = {
    "sparse_linear.pt": "lexical weights",
    "colbert_linear.pt": "a vector for each token",
}
"""BGE-M3's heads besides the dense vector, which FlagEmbedding reads and sentence-transformers does
not (https://huggingface.co/BAAI/bge-m3): file, and what it gives."""


def check_folder(path: Path) -> Path:
    """Return the resolved folder. Raises BadInput where it is missing, a file, or a link in it
    leads out of it (the hub cache's own links into its blobs are let pass)."""
    if not path.exists():
        raise BadInput(f"no such checkpoint folder: '{path}'; pass --checkpoint FOLDER or HUB_ID")
    if not path.is_dir():
        raise BadInput(f"'{path}' is a file; pass the folder that holds config.json")
    folder = path.resolve()
    allowed = [folder]
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        allowed.append(folder.parent.parent / "blobs")
    for entry in sorted(folder.rglob("*")):
        if entry.is_symlink():
            try:
                target = entry.resolve()
            except (OSError, RuntimeError):  # RuntimeError before Python 3.13
                raise BadInput(f"'{entry}' is a symbolic link to itself; copy the file") from None
            if not any(target.is_relative_to(root) for root in allowed):
                raise BadInput(
                    f"'{entry}' is a symbolic link out of the checkpoint folder; "
                    "replace it by the file itself"
                )
    return folder


def checkpoint_name(folder: Path) -> str:
    """Return the model's name: the folder's, or the repository's in the hub cache.

    Raises BadInput for one that would make hidden or unprintable files of its artifacts.
    """
    name = _name_of(folder)
    if name.startswith(".") or not name.strip(" .") or not name.isprintable() or "\\" in name:
        raise BadInput(
            f"a model cannot be called {name!a}: its files are named after it; rename the folder"
        )
    return name


def _name_of(folder: Path) -> str:
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def extra_file_findings(folder: Path) -> list[Finding]:
    """Return findings on files beside the model that other tools may load or look up."""
    found = []
    pickled = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.bin"))
    if pickled:
        found.append(
            Finding(
                id="pickled-weights",
                severity="warning",
                evidence=f"{pickled[0]} lies beside the safetensors",
                effect="tools that prefer it run the code inside when they load it",
                remedy="delete it; only the safetensors are read here",
            )
        )
    heads = [name for name in OTHER_HEADS if (folder / name).is_file()]
    if heads:
        found.append(
            Finding(
                id="dense-vectors-only",
                severity="warning",
                evidence="beside the model lie "
                + " and ".join(f"{name} ({OTHER_HEADS[name]})" for name in heads),
                effect="only dense vectors are exported, as sentence-transformers gives them; no "
                "artifact has lexical weights or token vectors",
                remedy="keep the original where sparse or multi-vector search is needed",
            )
        )
    card = folder / "README.md"
    if card.is_file() and "base_model:" in card.read_text(encoding="utf-8", errors="replace"):
        found.append(
            Finding(
                id="offline-loading",
                severity="info",
                evidence="the model card names a base model on the hub",
                effect="transformers and sentence-transformers may try the network, with retries, "
                "although the folder is local",
                remedy="none needed here: local folders are loaded offline",
            )
        )
    return found


def deciding_files(folder: Path, modules: Sequence[ModuleInfo]) -> tuple[Path, ...]:
    """Return every file of `folder` that decides a vector or an artifact: relative, sorted."""
    names = (
        "README.md",
        CONFIG_NAME,
        WEIGHTS_NAME,
        "added_tokens.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.txt",
    )
    files = {Path(name) for name in names if (folder / name).is_file()}
    if not is_adapter(folder):
        files |= {file.relative_to(folder) for file in weight_files(folder)}
    for module in modules[1:]:
        where = folder / module.path
        if (where / "config.json").is_file():
            files.add(Path(module.path) / "config.json")
        if module.kind == "Dense":
            files |= {file.relative_to(folder) for file in weight_files(where)}
    return tuple(sorted(files))
