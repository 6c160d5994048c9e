"""What a package says of itself."""

from exporter import __version__
from exporter.manifest import FileRecord, Manifest
from exporter.package.verdict import PackageVerdict
from exporter.records import Record


class PackageManifest(Record):
    """manifest.json of a package."""

    schema_version: int = 1
    package: str
    tool_version: str = __version__
    model_tag: str
    artifact_manifest_sha256: str
    artifact: Manifest
    verdict: PackageVerdict
    files: tuple[FileRecord, ...]
