"""A consumer of packages that a test adds."""

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from exporter.packages.assemble import Filling, Packager
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.verify import Proof
from parity_tests.toy.format import open_toy


def fill(filling: Filling) -> Sequence[str]:
    (judged,) = filling.artifacts
    for name in ("model.toy", "weights.toy"):
        shutil.copyfile(judged.folder / name, filling.stage / name)
    filling.write("readme.md.j2", "README.md", artifact=judged.manifest.name)
    return ["model.toy"]


def verify(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    del threads
    artifact = folder / "artifact"
    artifact.mkdir(exist_ok=True)
    shutil.copyfile(folder / "model.toy", artifact / "model.toy")
    (artifact / "manifest.json").write_text(entry.artifact.model_dump_json(), encoding="utf-8")
    with closing(open_toy(artifact)) as encoder:
        return [Proof("golden", check_golden(golden, encoder))]


PACKAGER = Packager(
    name="toybox",
    room=__package__,
    format="toy",
    fill=fill,
    verify="parity_tests.toy.consumer:verify",
    hint="a toy box takes toys",
)
