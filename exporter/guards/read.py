"""The space that a file, an artifact or a package tells of."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.parsing import parse_json
from exporter.space import SPACE_NAME, Space


def read_space(path: Path) -> Space:
    """Return the record in a space.json, or in that of an artifact or a package of one artifact.

    Raises BadInput for what holds none, or more than one.
    """
    file = path
    if path.is_dir():
        several = sorted((path / "space").glob("*.json"))
        file = several[0] if len(several) == 1 else path / SPACE_NAME
        if len(several) > 1:
            names = ", ".join(f"'{one}'" for one in several)
            raise BadInput(f"'{path}' holds several artifacts; name one of {names}")
    if not file.is_file():
        raise BadInput(
            f"'{path}' holds no {SPACE_NAME}; name an artifact, a package or a table of this tool, "
            "made by this version"
        )
    data: Any = parse_json(file.read_bytes(), f"'{file}'", remedy="make it again")
    try:
        return Space.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise BadInput(f"'{file}': {where}: {first['msg']}; make it again") from None
