"""Open an artifact in its home runtime."""

from functools import partial
from pathlib import Path

from exporter.format import format_of
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, check_files, read_manifest
from exporter.runtimes.encoder import Encoder, Portable, Source
from exporter.runtimes.identity import artifact_identity


def open_artifact(folder: Path, *, threads: int | None = None) -> Encoder:
    """Check the files of an artifact against its manifest, then load it.

    Raises BadInput for a damaged folder, MissingDependency where the runtime is not installed.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    encoder: Encoder = format_of(manifest.format).resolve("encoder")(folder, threads=threads)
    return encoder


def artifact_source(folder: Path) -> Source:
    """Return an artifact as a source of vectors, not loaded yet."""
    manifest = read_manifest(folder)
    found = format_of(manifest.format)
    kernels = found.resolve("kernels")() if found.kernels else None
    digest = sha256_file(folder / MANIFEST_NAME)
    return Source(
        name=manifest.name,
        dim=manifest.dim,
        identity=artifact_identity(digest, kernels=kernels, libraries=found.libraries),
        open=partial(open_artifact, folder),
        kernels=kernels,
        portable=Portable(
            folder=folder,
            files=(
                (MANIFEST_NAME, digest),
                *((record.path, record.sha256) for record in manifest.files),
            ),
            open_at=artifact_source,
        ),
    )
