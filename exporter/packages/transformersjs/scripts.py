"""Scripts of this package: only those that the installed tool itself would write are ever run."""

from collections.abc import Mapping
from pathlib import Path

from exporter.hashing import sha256_file
from exporter.packages.transformersjs.npm import RUNTIME_FILES

STATIC = Path(__file__).parent / "static"


def scripts_of_transformersjs() -> Mapping[str, str]:
    """Return path in the package -> SHA-256, of every script that may lie in one."""
    page = STATIC / "page"
    found = {"embed.mjs": STATIC / "embed.mjs", "index.html": page / "index.html"}
    found |= {f"page/{path.name}": path for path in page.iterdir()}
    ours = {name: sha256_file(path) for name, path in found.items()}
    vendor = {f"page/vendor/{Path(name).name}": digest for name, digest in RUNTIME_FILES.items()}
    return {**ours, **vendor}
