"""What a package says of itself."""

from typing import Literal

from pydantic import Field, model_validator

from exporter import __version__
from exporter.manifest import FileRecord, InsidePath, Manifest, Name
from exporter.packages.verdict import PackageVerdict
from exporter.records import Record


class PackagedArtifact(Record):
    """One artifact in a package. `file`, `golden`, `space`: its model, its vectors and its
    space.json in the package."""

    artifact: Manifest
    artifact_manifest_sha256: str
    verdict: PackageVerdict
    file: InsidePath
    golden: InsidePath
    space: InsidePath


class PackageManifest(Record):
    """manifest.json of a package. `model_tag`: its name on a server, where it is made for one."""

    schema_version: Literal[5] = 5
    package: Name
    tool_version: str = __version__
    model_tag: str | None = None
    artifacts: tuple[PackagedArtifact, ...] = Field(min_length=1)
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _models_and_vectors_are_among_the_files(self) -> "PackageManifest":
        held = {record.path for record in self.files}
        for entry in self.artifacts:
            for path in (entry.file, entry.golden, entry.space):
                if path not in held:
                    raise ValueError(f"'{path}' is not among the files")
        return self
