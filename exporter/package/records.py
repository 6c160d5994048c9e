"""What a package says of itself."""

from typing import Literal

from pydantic import Field

from exporter import __version__
from exporter.manifest import FileRecord, Manifest
from exporter.package.verdict import PackageVerdict
from exporter.records import Record


class PackagedArtifact(Record):
    """One artifact in a package. `file` and `golden`: its model and its vectors in the package."""

    artifact: Manifest
    artifact_manifest_sha256: str
    verdict: PackageVerdict
    file: str
    golden: str


class PackageManifest(Record):
    """manifest.json of a package. `model_tag`: its name on a server, where it is made for one."""

    schema_version: Literal[2] = 2
    package: str
    tool_version: str = __version__
    model_tag: str | None = None
    artifacts: tuple[PackagedArtifact, ...] = Field(min_length=1)
    files: tuple[FileRecord, ...]
