"""SHA256SUMS: every file of a package, checked by this tool or by `sha256sum -c`."""

import re
from pathlib import Path

from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.packages.signature import SIGNATURE_NAME

SUMS_NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write the hash of every file below `folder`, paths with forward slashes, in their order."""
    lines = [f"{sha256_file(path)}  {name}\n" for name, path in sorted(_files(folder).items())]
    (folder / SUMS_NAME).write_text("".join(lines), encoding="utf-8", newline="\n")


def check_sums(folder: Path) -> list[str]:
    """Return a line for each file that is missing, changed, or was added. Raises BadInput for a
    folder without readable SHA256SUMS."""
    path = folder / SUMS_NAME
    if not folder.is_dir():
        raise BadInput(f"no such package: '{folder}'; make one with 'lawvault package'")
    if not path.is_file():
        raise BadInput(f"'{folder}' has no {SUMS_NAME}; it is no package of this tool")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"'{path}' is not UTF-8; take the package from its source again") from None
    matches = [LINE.fullmatch(line) for line in lines]
    if None in matches or not matches:
        raise BadInput(f"'{path}' is damaged; take the package from its source again")
    expected = {match.group(2): match.group(1) for match in matches if match is not None}
    found = _files(folder)
    links = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink())
    problems = [f"'{name}' is a link, and a package holds none" for name in links]
    problems += [
        f"'{name}' is missing" for name in expected if name not in found and name not in links
    ]
    problems += [f"'{name}' was added" for name in sorted(found) if name not in expected]
    problems += [
        f"'{name}' was changed"
        for name, digest in expected.items()
        if name in found and sha256_file(found[name]) != digest
    ]
    return problems


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        # Python leaves __pycache__ where client.py is imported.
        if path.is_file()
        and not path.is_symlink()
        and path != folder / SUMS_NAME
        and path != folder / SIGNATURE_NAME
        and path.parent.name != "__pycache__"
    }
