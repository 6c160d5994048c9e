"""Files of peers, each made once in a working folder, under a name that says what from."""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peer_files import PEERS, Peer
from benchmarks.peer_makes import Origin, copy
from benchmarks.peer_runs import inside, load_gguf, load_openvino, session
from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.corpus.calibration import calibration_sha256, read_calibration
from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.manifest import library_versions, read_manifest
from exporter.runtimes.alone import peak_memory

RECORD = "made.json"
WEIGHTS = (".onnx", ".onnx_data", ".onnx.data", ".bin", ".xml", ".gguf", ".safetensors")
LOADS = {"onnx": session, "openvino": load_openvino, "gguf": load_gguf}
EXPORTER = Path(__file__).resolve().parents[1] / "exporter"


@dataclass(frozen=True)
class Job:
    """What all steps of a run share. `calibration`: None for the bundled texts; `work`: where files
    and vectors are kept; `artifacts`: folders that were exported elsewhere, by name."""

    checkpoint: Path
    prompts: Prompts | None
    calibration: Path | None
    work: Path
    artifacts: dict[str, Path] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the job as `from_json` reads it."""
        return json.dumps(
            {
                "checkpoint": str(self.checkpoint),
                "prompts": None if self.prompts is None else self.prompts.model_dump(),
                "calibration": None if self.calibration is None else str(self.calibration),
                "work": str(self.work),
                "artifacts": {name: str(path) for name, path in self.artifacts.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Job":
        given = json.loads(text)
        return cls(
            checkpoint=Path(given["checkpoint"]),
            prompts=None if given["prompts"] is None else Prompts(**given["prompts"]),
            calibration=None if given["calibration"] is None else Path(given["calibration"]),
            work=Path(given["work"]),
            artifacts={name: Path(path) for name, path in given["artifacts"].items()},
        )

    def peer(self, name: str) -> Peer:
        """Return a peer by name, an artifact of this run among them."""
        if name not in self.artifacts:
            return PEERS[name]
        return Peer(copy, LOADS[read_manifest(self.artifacts[name]).format])


def folder_of(name: str, job: Job, checkpoint: Checkpoint) -> Path:
    """Return the folder of a peer's file: its name, and a hash of all it is made from but code."""
    key = _key(name, job, checkpoint)
    return job.work / "files" / f"{name.replace(' ', '-')}-{key[:8]}"


def _key(name: str, job: Job, checkpoint: Checkpoint) -> str:
    peer = job.peer(name)
    calibration = None
    if peer.calibrated:
        calibration = calibration_sha256(read_calibration(job.calibration))
    decided: dict[str, Any] = {
        "name": name,
        "checkpoint": checkpoint.file_hashes(),
        "prompts": checkpoint.prompts.model_dump(),
        "calibration": calibration,
        "after": _key(peer.after, job, checkpoint) if peer.after else None,
        "libraries": library_versions(peer.needs),
        "artifact": str(job.artifacts.get(name, "")),
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def make_file(name: str, job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """Make a peer's file unless it is there, and those it starts from. Returns its record: seconds,
    peak and size in MB, files by hash.

    A file that another state of this project's code made is kept, and said to be.
    """
    peer, folder = job.peer(name), folder_of(name, job, checkpoint)
    if (folder / RECORD).is_file():
        record = made_record(folder)
        if name.startswith("ours") and record["code"] != code_sha256():
            print(
                f"{name}: kept from another state of exporter/; --remake makes it again",
                file=sys.stderr,
            )
        return record
    source = job.artifacts.get(name)
    if peer.after:
        make_file(peer.after, job, checkpoint)
        source = inside(folder_of(peer.after, job, checkpoint))
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    keep = job.work / "rounded" / code_sha256()[:8]
    began = time.perf_counter()
    peer.make(Origin(checkpoint, job.calibration, source, keep), partial)
    hashes = {
        path.relative_to(inside(partial)).as_posix(): sha256_file(path) for path in files(partial)
    }
    record = {
        "name": name,
        "seconds": round(time.perf_counter() - began, 2),
        "peak_mb": round(peak_memory() / 1e6),
        "mb": round(size_mb(partial), 1),
        "code": code_sha256(),
        "files": hashes,
    }
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    partial.rename(folder)
    return record


def remove_file(name: str, job: Job, checkpoint: Checkpoint) -> None:
    """Forget a peer's file, so that it is made again."""
    shutil.rmtree(folder_of(name, job, checkpoint), ignore_errors=True)


def made_record(folder: Path) -> dict[str, Any]:
    """Return what `make_file` wrote. Raises BadInput where it is damaged."""
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
    except ValueError as error:
        raise BadInput(f"'{folder / RECORD}' cannot be read ({error}); remove {folder}") from None
    return found


def files(folder: Path) -> list[Path]:
    """Return the files that hold graphs and weights."""
    place = inside(folder)
    return sorted(p for p in place.rglob("*") if p.is_file() and p.name.endswith(WEIGHTS))


def size_mb(folder: Path) -> float:
    """Return the size of graph and weights; of a quantized file only, where both lie there."""
    found = [path for path in files(folder) if path.name != "imatrix.gguf"]
    quantized = [path for path in found if "_q" in path.name and path.parent.name == "onnx"]
    return sum(path.stat().st_size for path in quantized or found) / 1e6


def code_sha256() -> str:
    """Return the hash of this project's source."""
    digest = hashlib.sha256()
    for path in sorted(EXPORTER.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
