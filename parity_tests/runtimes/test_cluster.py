"""Vectors from a cluster of workers are the bits of one machine's, whoever dies on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

for module in ("ray", "onnx", "onnxruntime", "lancedb", "sentence_transformers"):
    pytest.importorskip(module)
import lancedb  # noqa: E402

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.cluster import engine as engines  # noqa: E402
from exporter.cluster.engine import RayEngine  # noqa: E402
from exporter.cluster.files import get_files, put_files  # noqa: E402
from exporter.cluster.nodes import QUIET, Workers, connected, sized  # noqa: E402
from exporter.cluster.worker import Worker  # noqa: E402
from exporter.errors import BadInput  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.open import artifact_source  # noqa: E402
from exporter.progress import Progress, silent  # noqa: E402
from exporter.vectors.embed import embed_each  # noqa: E402
from parity_tests.command import run  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS, REPOSITORY  # noqa: E402
from parity_tests.tiny_checkpoint import make_tiny_checkpoint  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402

DOCUMENTS = 6000
"""A dozen shards."""


class Nodes:
    """Two nodes of one CPU each behind a head without any, all on this machine."""

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster()
        self.cluster.add_node(num_cpus=0, include_dashboard=False, object_store_memory=10**8)
        self.more()
        self.more()
        self.address = str(self.cluster.address)

    def more(self, **environment: str) -> Any:
        return self.cluster.add_node(
            num_cpus=1, object_store_memory=10**8, env_vars=environment or None
        )

    def engine(self, count: int = 2) -> RayEngine:
        return RayEngine(self.address, Workers(count, cpus=1))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.cluster.shutdown()


class Desk:
    """An artifact, a corpus of a dozen shards, and the table that one machine makes of them."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = make_tiny_checkpoint(folder / "m")
        self.artifact = folder / "int8"
        read = read_checkpoint(self.checkpoint, prompts=LAWVAULT_PROMPTS)
        export_onnx(read, self.artifact, scheme="int8")
        self.corpus = make_tiny_corpus(folder / "corpus", documents=DOCUMENTS, questions=20)
        self.here = folder / "here"
        assert run(self.index(self.here)) == 0

    def index(self, output: Path, *more: object) -> list[str]:
        named = ["--corpus", self.corpus, "--output", output, "--quiet", *more]
        return ["index", str(self.artifact), *map(str, named)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def table(database: Path) -> Any:
    return lancedb.connect(database).open_table("laws_vectors").to_arrow()


def cached(folder: Path) -> int:
    """Return the bytes of the vectors that are kept."""
    return sum(file.stat().st_size for file in folder.glob("*.f32"))


def on_cluster(nodes: Nodes) -> list[str]:
    return ["--engine", "ray", "--ray-address", nodes.address, "--worker-cpus", "1"]


def workers() -> list[psutil.Process]:
    """Return the processes that hold a model."""
    return [p for p in psutil.process_iter(["cmdline"]) if "MapWorker" in str(p.info["cmdline"])]


def texts(count: int) -> list[str]:
    return [f"第{i}条 " + "出租人应当退还押金。" * (1 + i % 7) for i in range(count)]


def stages(first: Callable[[], None]) -> Any:
    """Return stages that call `first` when the first texts are done."""
    waiting = [first]

    def progress(done: int) -> None:
        if done and waiting:
            waiting.pop()()

    def start(label: str, total: int) -> Progress:
        del label, total
        return progress

    return start


def test_a_table_is_that_of_one_machine_to_the_last_bit(
    desk: Desk, nodes: Nodes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.index(tmp_path / "db", *on_cluster(nodes), "--json")) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert '"added": 6000' in said.out
    assert table(tmp_path / "db").equals(table(desk.here), check_metadata=True)
    # What a cluster has embedded, one machine has too.
    again, kept = tmp_path / "again", tmp_path / "db.vectors"
    before = cached(kept)
    assert run(desk.index(again, "--cache", kept)) == 0
    assert table(again).equals(table(desk.here), check_metadata=True)
    assert cached(kept) == before > 0


def test_a_worker_that_is_killed_costs_nothing(desk: Desk, nodes: Nodes, tmp_path: Path) -> None:
    source, wanted = artifact_source(desk.artifact), texts(6000)
    killed: list[int] = []

    def kill() -> None:
        worker = workers()[0]
        killed.append(worker.pid)
        worker.kill()

    rows = embed_each(
        source, wanted, cache=tmp_path / "far", start=stages(kill), engine=nodes.engine()
    )
    assert killed
    here = embed_each(source, wanted, cache=tmp_path / "near", start=silent)
    assert rows.block(0, 6000).tobytes() == here.block(0, 6000).tobytes()


def test_a_run_that_is_killed_goes_on_where_it_was(
    desk: Desk, nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = desk.index(tmp_path / "db", *on_cluster(nodes), "--workers", 1)
    code = f"from exporter.cli.main import main\nmain({arguments!r})\n"
    driver = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    kept = tmp_path / "db.vectors"
    deadline = time.monotonic() + 120
    while not cached(kept):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert 0 < cached(kept) < cached(desk.here.with_name("here.vectors"))
    assert not (tmp_path / "db").exists()
    assert run(desk.index(tmp_path / "db", *on_cluster(nodes), "--json")) == 0
    assert '"added": 6000' in capsys.readouterr().out
    assert table(tmp_path / "db").equals(table(desk.here), check_metadata=True)
    assert cached(kept) == cached(desk.here.with_name("here.vectors"))


def test_a_worker_with_another_version_of_a_library_is_refused(
    desk: Desk, nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "site" / "onnxruntime-99.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 99.0\n")
    paths = os.pathsep.join([str(other.parent), str(REPOSITORY)])
    added = nodes.more(PYTHONPATH=paths)
    try:
        wanted = desk.index(tmp_path / "db", *on_cluster(nodes), "--workers", 3)
        assert run(wanted) == 2
    finally:
        nodes.cluster.remove_node(added)
    said = capsys.readouterr().err
    assert said.startswith("error: worker on ")
    assert "onnxruntime 99.0 there, " in said
    assert said.count("\n") == 1
    assert not (tmp_path / "db").exists()


def test_a_machine_without_lawvault_is_named(desk: Desk, nodes: Nodes, tmp_path: Path) -> None:
    empty = tmp_path / "site" / "exporter"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("raise ImportError('nothing here')\n")
    added = nodes.more(PYTHONPATH=str(empty.parent))
    try:
        wanted = desk.index(tmp_path / "db", *on_cluster(nodes), "--workers", 3)
        # From elsewhere: workers look where their caller stands, too.
        ran = subprocess.run(
            [sys.executable, "-c", f"from exporter.cli.main import main\nmain({wanted!r})\n"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    finally:
        nodes.cluster.remove_node(added)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "error: a worker cannot import lawvault; install lawvault-exporter"
    )
    assert ran.stderr.count("\n") == 1


class Fragile(Worker):
    """Dies of one text, as of one that is too long for the memory there."""

    def __call__(self, batch: Any) -> Any:
        if b"POISON" in batch["texts"][0]:
            os._exit(137)
        return super().__call__(batch)


@pytest.mark.slow
def test_a_text_that_kills_every_worker_ends_the_run(
    desk: Desk, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "Worker", Fragile)
    source = artifact_source(desk.artifact)
    wanted = [*texts(1000), "POISON" + "押" * 400]
    with pytest.raises(BadInput, match=r"Ray gave up: .*; what is encoded is kept"):
        embed_each(source, wanted, cache=tmp_path / "c", start=silent, engine=nodes.engine(1))
    assert cached(tmp_path / "c")
    monkeypatch.undo()
    rows = embed_each(source, wanted, cache=tmp_path / "c", start=silent, engine=nodes.engine(1))
    assert len(rows) == 1001


@pytest.mark.parametrize("wrong", ["version", "vectors"])
def test_a_worker_that_is_another_is_refused(
    wrong: str, desk: Desk, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engines._job

    def job(source: Any, *, threads: int) -> Any:
        right = made(source, threads=threads)
        if wrong == "version":
            return replace(right, version="0.0.9")
        off = right.vectors.copy()
        off[0, 0] += 1e-6
        return replace(right, vectors=off)

    monkeypatch.setattr(engines, "_job", job)
    said = {
        "version": "is installed there, 0.0.9 here; install one version",
        "vectors": "onnx-int8 gives other vectors there than here",
    }[wrong]
    source = artifact_source(desk.artifact)
    with pytest.raises(BadInput, match=said):
        embed_each(
            source, texts(9), cache=tmp_path / "c", start=silent, engine=nodes.engine(count=1)
        )


def test_a_model_travels_to_machines_that_lack_it(
    desk: Desk, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    portable = artifact_source(desk.artifact).portable
    assert portable is not None
    elsewhere = replace(portable, folder=tmp_path / "nowhere")
    with connected(nodes.address) as (ray, alone):
        assert not alone
        pieces = put_files(ray, portable)
        copy = get_files(ray, elsewhere, pieces)
        assert copy.parent.parent == tmp_path
        files = {f.relative_to(copy).as_posix(): f.read_bytes() for f in copy.rglob("*.*")}
        assert files == {name: (desk.artifact / name).read_bytes() for name, _ in portable.files}
        assert get_files(ray, elsewhere, {}) == copy  # found again
        assert get_files(ray, portable, {}) == desk.artifact
        (copy / "manifest.json").write_text("{}")  # damaged since: fetched again
        assert get_files(ray, elsewhere, pieces) == copy
        short = {**pieces, "model.onnx": ()}
        shutil.rmtree(copy)
        with pytest.raises(BadInput, match="did not arrive as they were sent"):
            get_files(ray, elsewhere, short)
        assert not copy.exists()
        copy.parent.chmod(0o777)
        with pytest.raises(BadInput, match="others may write into"):
            get_files(ray, elsewhere, pieces)
        changed = replace(portable, files=(("manifest.json", "0" * 64),))
        with pytest.raises(BadInput, match=r"manifest\.json' changed after it was read"):
            put_files(ray, changed)


def test_workers_are_sized_by_the_machines(nodes: Nodes) -> None:
    with connected(nodes.address) as (ray, _):
        assert sized(ray, Workers()) == Workers(2, 1)
        assert sized(ray, Workers(cpus=1)) == Workers(2, 1)
        assert sized(ray, Workers(count=1)) == Workers(1, 1)
        for wrong, said in (
            (Workers(count=3), "has room for 2 workers with --worker-cpus 1, not for 3"),
            (Workers(cpus=4), "has room for 0 workers with --worker-cpus 4, not for 1"),
            (Workers(gpus=0.5), "has room for 0 workers with .*--worker-gpus 0.5"),
        ):
            with pytest.raises(BadInput, match=said):
                sized(ray, wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at"),
        (["--engine", "ray", "--ray-address", "nonsense"], "no Ray cluster answers at 'nonsense'"),
        (["--engine", "ray", "--ray-address", "ray://h:1"], "is Ray Client's"),
        (["--workers", "2"], "--workers goes with --engine ray"),
    ],
)
def test_what_cannot_be_reached_is_one_line(
    options: list[str], said: str, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.index(tmp_path / "db", *options)) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "db").exists()


def test_without_ray_the_extra_is_named_and_without_engine_none_is_needed(
    desk: Desk, tmp_path: Path
) -> None:
    def lawvault(*more: str) -> subprocess.CompletedProcess[str]:
        arguments = desk.index(tmp_path / "db", *more)
        code = (
            "import sys, importlib.util as u\nfind = u.find_spec\n"
            "u.find_spec = lambda n, *a: None if n == 'ray' else find(n, *a)\n"
            "sys.modules['ray'] = None\n"
            f"from exporter.cli.main import main\nmain({arguments!r})\n"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    ran = lawvault("--engine", "ray")
    assert (ran.returncode, ran.stderr.count("\n")) == (3, 1)
    assert "pip install 'lawvault-exporter[ray]'" in ran.stderr
    ran = lawvault()
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
def test_evaluation_on_a_cluster_is_that_of_one_machine(
    desk: Desk, nodes: Nodes, tmp_path: Path
) -> None:
    written = []
    for name, more in (("here", []), ("far", on_cluster(nodes))):
        given = ["--checkpoint", desk.checkpoint, "--corpus", desk.corpus, "--quiet"]
        assert run(["evaluate", *map(str, given), "--output", str(tmp_path / name), *more]) == 0
        written.append((tmp_path / name / "evaluation.json").read_bytes())
    assert written[0] == written[1]
