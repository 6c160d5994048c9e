"""A corpus of the hub by its id, as `BeIR/scifact`: fetched, unpacked, and read as a folder."""

import gzip
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from exporter.errors import BadInput, reason_of
from exporter.staging import staged_folder

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ("corpus.jsonl", "corpus.jsonl.gz", "queries*.jsonl", "queries*.jsonl.gz", "qrels/*.tsv")
ANSWERS = "-qrels"
"""Of the data set that holds a BEIR corpus' answers: `BeIR/scifact-qrels`."""


def locate_corpus(named: Path) -> Path:
    """Return the folder of a path, or of a data set of the hub in BEIR's layout.

    A path that exists is never looked up. Data sets are kept in the hub's cache and, unpacked, in
    `lawvault` beside it, by their commit. Raises BadInput where there is neither.
    """
    if named.exists() or HUB_ID.fullmatch(str(named)) is None:
        return named
    found = _fetch(str(named), FILES)
    if not any(found.glob("corpus.jsonl*")):
        raise BadInput(f"'{named}' of the hub holds no corpus.jsonl; it is not in BEIR's layout")
    from huggingface_hub import constants

    kept = Path(constants.HF_HOME) / "lawvault" / str(named).replace("/", "--") / found.name
    target = kept / named.name
    if target.is_dir():
        return target
    answers = [*found.glob("qrels/*.tsv")] or _answers(str(named))
    with staged_folder(target, force=True) as stage:
        _unpack(found.glob("*.jsonl*"), stage)
        (stage / "qrels").mkdir()
        _unpack(answers, stage / "qrels")
    return target


def _answers(name: str) -> list[Path]:
    """Return the files of answers that BEIR keeps in a data set of their own, none where there is
    no such: documents alone suffice for an index."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return [*_fetch(f"{name}{ANSWERS}", ("*.tsv",)).glob("*.tsv")]
    except BadInput as error:
        if isinstance(error.__cause__, RepositoryNotFoundError):
            return []
        raise


def _fetch(name: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(patterns)))
    except Exception as error:
        reason = reason_of(error)
        raise BadInput(
            f"'{name}' is no folder here, and the hub did not give it as a data set ({reason}); "
            "check the name, or pass a local folder"
        ) from error


def _unpack(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        if file.suffix != ".gz":
            shutil.copyfile(file, folder / file.name)
            continue
        try:
            with gzip.open(file) as packed, (folder / file.stem).open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except (OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise BadInput(f"'{file}' is no gzip file ({error}); remove it and run again") from None
