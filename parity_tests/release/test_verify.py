"""lawvault verify and what lies in a package, against real servers."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")
pytest.importorskip("xllamacpp")

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.packages.sums import check_sums, write_sums
from exporter.packages.verdict import PackageVerdict
from exporter.packages.verify import VerifyReport, verify_package
from exporter.runtimes.encoder import Encoder
from exporter.runtimes.server import ServerEncoder
from parity_tests.conftest import MINIATURE
from parity_tests.miniature.harden import harden
from parity_tests.packaging import golden_of, package_ollama, seal
from parity_tests.servers import (
    LLAMA_CPP,
    LLAMA_CPP_PYTHON,
    answering,
    as_ollama,
    raw_bytes,
    running,
    without_end,
)

PASS = PackageVerdict(verdict="pass", corpus="c", corpus_sha256="0" * 64, cosine_minimum=0.9)
PROMPTS = Prompts(query="task: {text}", document="title: {title} | text: {text}")
LIMIT = 512


def packaged(checkpoint: Checkpoint, folder: Path, *, type_name: str = "q8_0") -> Path:
    export_gguf(checkpoint, folder / "g", scheme=type_name)
    encoder = LlamaCppEncoder(folder / "g")
    golden = golden_of(encoder, checkpoint)
    encoder.close()
    package_ollama(folder / "g", folder / "p", checkpoint=checkpoint, verdict=PASS, golden=golden)
    return folder / "p"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = read_checkpoint(MINIATURE, prompts=PROMPTS)
    return packaged(checkpoint, tmp_path_factory.mktemp("package"))


def model_of(package: Path) -> Path:
    return next(package.glob("*.gguf"))


@pytest.fixture(scope="module")
def url(package: Path) -> Iterator[str]:
    with running(LLAMA_CPP, model_of(package), tokens=LIMIT) as address:
        yield address


def checks(report: VerifyReport) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.detail) for check in report.checks}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_package_is_verified_in_its_own_runtime(package: Path) -> None:
    report = verify_package(package)
    assert report.verdict == "pass"
    assert checks(report)["golden"] == ("pass", "ids and vectors of 14 texts agree")


def test_llama_cpps_server_gives_the_packages_vectors(package: Path, url: str) -> None:
    report = verify_package(package, server=ServerEncoder(url, "any", dim=0))
    found = checks(report)
    assert report.verdict == "pass", found
    for name in ("files", "answers", "vectors", "normalized", "batch", "prompts"):
        assert found[name][0] == "pass", (name, found[name])
    assert found["dimensions"][0] == "info"
    assert "cut and scale vectors yourself" in found["dimensions"][1]
    assert "strip it on both sides" in found["white space"][1]
    assert "is refused: cut it yourself" in found["over-long"][1]
    assert "'task: {text}'" in found["prompts"][1]


def test_the_server_is_an_encoder_that_parity_could_use(package: Path, url: str) -> None:
    encoder = ServerEncoder(url, "any")
    assert isinstance(encoder, Encoder)
    texts = ["押金", "房东不退押金怎么办"] * 20
    seen: list[int] = []
    vectors = encoder.encode(texts, on_progress=seen.append)
    artifact = json.loads((package / "manifest.json").read_text("utf-8"))["artifacts"][0][
        "artifact"
    ]
    assert vectors.shape == (40, artifact["dim"])
    assert sum(seen) == 40
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(texts[:2], dim=64), axis=1), 1, 1e-5)
    with pytest.raises(BadInput, match="tells no token ids"):
        encoder.token_ids(texts)


def test_a_server_that_does_not_normalize_is_a_warning(package: Path) -> None:
    pytest.importorskip("uvicorn")
    with running(LLAMA_CPP_PYTHON, model_of(package), tokens=LIMIT) as address:
        report = verify_package(package, server=ServerEncoder(address, "any", dim=0))
    found = checks(report)
    assert found["normalized"][0] == "warning"
    assert "does not change" in found["normalized"][1]
    assert found["vectors"][0] == "pass"
    assert report.verdict == "pass"


def test_ollamas_protocol_is_spoken(package: Path, url: str) -> None:
    with answering(as_ollama(url)) as address:
        report = verify_package(package, server=ServerEncoder(address, "m", api="ollama", dim=0))
        assert report.verdict == "pass", checks(report)
        wrong = verify_package(package, server=ServerEncoder(address, "m", api="openai", dim=0))
    assert "answered 404" in checks(wrong)["answers"][1]


def test_another_model_on_the_server_fails(package: Path, tmp_path: Path) -> None:
    other = read_checkpoint(harden(MINIATURE, tmp_path / "hard"), prompts=PROMPTS)
    other_package = packaged(other, tmp_path)  # the same function, but rounded elsewhere
    with running(LLAMA_CPP, model_of(other_package), tokens=LIMIT) as address:
        report = verify_package(package, server=ServerEncoder(address, "any", dim=0))
    assert report.verdict == "fail"
    assert checks(report)["vectors"][1].startswith("another file is served")


def vectors_of(dim: int, value: Any = 0.1) -> Callable[[str, dict[str, Any]], tuple[int, str]]:
    def reply(path: str, body: dict[str, Any]) -> tuple[int, str]:
        del path
        rows = [{"index": i, "embedding": [value] * dim} for i, _ in enumerate(body["input"])]
        return 200, json.dumps({"data": rows})

    return reply


def slow(path: str, body: dict[str, Any]) -> tuple[int, str]:
    time.sleep(1.5)
    return vectors_of(256)(path, body)


BAD: tuple[tuple[Callable[[str, dict[str, Any]], tuple[int, str]], str, str], ...] = (
    (vectors_of(256, float("nan")), "answers", "NaN or infinite"),
    (vectors_of(256, None), "answers", "NaN or infinite"),
    (vectors_of(256, "x"), "answers", "no number"),
    (vectors_of(100), "vectors", "100 dimensions instead of 256: another model is served"),
    (vectors_of(256), "vectors", "another model is served, or its pooling is lost"),
    (lambda path, body: (404, '{"error": "model \\"x\\" not found"}'), "answers", "not found"),
    (lambda path, body: (500, "boom"), "answers", "answered 500: boom"),
    (lambda path, body: (200, "<html>hello</html>"), "answers", "did not answer in JSON"),
    (lambda path, body: (200, '{"data": []}'), "answers", "gave 0 vectors for 13 texts"),
    (lambda path, body: (200, '{"embeddings": []}'), "answers", "is it --api openai?"),
    (slow, "answers", "gave no answer within 0.3 s; raise --timeout"),
    (vectors_of(256, 1e300), "answers", "NaN or infinite"),
)


@pytest.mark.parametrize(("reply", "check", "message"), BAD)
def test_a_bad_answer_is_named(
    package: Path, reply: Callable[[str, dict[str, Any]], tuple[int, str]], check: str, message: str
) -> None:
    with answering(reply) as address:
        report = verify_package(package, server=ServerEncoder(address, "x", timeout_s=0.3, dim=0))
    status, detail = checks(report)[check]
    assert (status, report.verdict) == ("fail", "fail")
    assert message in detail


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "does not speak HTTP but says 'SSH-2.0-OpenSSH_9'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "broke off after 1 bytes"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\nboo", "answered 500: boo"),
        (b"", "closed the connection without an answer"),
    ],
    ids=["no HTTP", "cut answer", "cut error", "closed"],
)
def test_bytes_that_are_no_answer_are_named(package: Path, data: bytes, message: str) -> None:
    with raw_bytes(data) as address:
        report = verify_package(package, server=ServerEncoder(address, "x", timeout_s=5, dim=0))
        own = script(package, sys.executable, "verify.py", "--url", address)
    assert checks(report)["answers"][0] == "fail"
    assert message in checks(report)["answers"][1]
    assert own.returncode == 1
    assert own.stderr.startswith("FAILED: ")
    assert "Traceback" not in own.stderr


@pytest.mark.parametrize(
    ("piece", "pause_s", "message"),
    [(b" ", 0.2, "no answer within 1 s"), (bytes(1 << 20), 0.0, "answers with more than 50 MB")],
    ids=["a byte now and then", "a body without end"],
)
def test_an_answer_without_end_is_given_up(
    package: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes, pause_s: float, message: str
) -> None:
    monkeypatch.setattr("exporter.runtimes.server.LARGEST_ANSWER", 50_000_000)
    started = time.monotonic()
    timeout_s = 1.0 if pause_s else 30.0
    with without_end(piece, pause_s=pause_s) as url:
        server = ServerEncoder(url, "x", timeout_s=timeout_s, dim=0)
        assert message in checks(verify_package(package, server=server))["answers"][1]
        command = [sys.executable, "verify.py", "--url", url, "--timeout", str(timeout_s)]
        own = script(package, *command)
    assert own.returncode == 1
    assert "too long" in own.stderr
    assert time.monotonic() - started < 20


def test_texts_are_not_sent_to_where_a_server_points(package: Path) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with raw_bytes(head) as url:
        report = verify_package(package, server=ServerEncoder(url, "x", dim=0))
    assert "answered 302" in checks(report)["answers"][1]


@pytest.mark.parametrize(
    "url", ["http://[bad", "http://a:port", "http://", "http://a b", "http://路/路"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadInput, match="is no http address"):
        ServerEncoder(url, "x", dim=0)


def changing(url: str, change: Callable[[str], str]) -> Callable[..., tuple[int, str]]:
    """Return a proxy to the server at `url` that changes every text on its way."""

    def reply(path: str, body: dict[str, Any]) -> tuple[int, str]:
        return as_ollama(url)(path, {**body, "input": [change(t) for t in body["input"]]})

    return reply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\n", " "), "only texts with newlines differ"),
        (
            lambda text: "query: " + text,
            "another file is served, or texts are changed on their way",
        ),
        (lambda text: " " + text, "these are the vectors of texts with a space in front"),
        (lambda text: text + "\n", "these are the vectors of texts with a newline at the end"),
    ],
    ids=["newlines replaced", "a prompt of its own", "a space in front", "a newline at the end"],
)
def test_a_server_that_changes_texts_fails(
    package: Path, url: str, change: Callable[[str], str], message: str
) -> None:
    with answering(changing(url, change)) as address:
        report = verify_package(package, server=ServerEncoder(address, "m", api="ollama", dim=0))
    assert checks(report)["vectors"][0] == "fail"
    assert message in checks(report)["vectors"][1]


@pytest.mark.parametrize(
    ("status", "expected", "message"),
    [
        (400, "info", "is refused"),
        (500, "warning", "take a 500 for a passing fault"),
        (0, "fail", "gets no answer"),
    ],
)
def test_how_an_over_long_text_is_met_is_told(
    package: Path, url: str, status: int, expected: str, message: str
) -> None:
    def reply(path: str, body: dict[str, Any]) -> tuple[int, str]:
        if max(map(len, body["input"])) < 600:
            return as_ollama(url)(path, body)
        if status == 0:
            time.sleep(1.5)
        return status or 200, "too long"

    with answering(reply) as address:
        server = ServerEncoder(address, "m", api="ollama", timeout_s=1, dim=0)
        found = checks(verify_package(package, server=server))
    assert found["vectors"][0] == "pass", found
    assert found["over-long"][0] == expected
    assert message in found["over-long"][1]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_the_command_exits_0_1_or_2(
    package: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", str(package), "--url", url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    assert run("verify", str(package), "--url", f"http://127.0.0.1:{free_port()}") == 1
    assert "nothing answers" in capsys.readouterr().out.replace("\n", " ")
    assert run("verify", str(package), "--url", "localhost:1") == 2
    assert "is no http address" in capsys.readouterr().err
    assert run("verify", str(package), "--model", "x") == 2
    assert run("verify", str(tmp_path)) == 2
    assert "has no SHA256SUMS" in capsys.readouterr().err


def edited(package: Path, target: Path, change: Callable[[Path], Any]) -> Path:
    copy = Path(shutil.copytree(package, target))
    change(copy)
    return copy


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: flip(model_of(p)), ".gguf' was changed"),
        (lambda p: (p / "prompts.json").unlink(), "'prompts.json' is missing"),
        (lambda p: (p / "notes.txt").write_text("mine"), "'notes.txt' was added"),
    ],
)
def test_an_edited_folder_is_named(
    package: Path, tmp_path: Path, change: Callable[[Path], Any], message: str
) -> None:
    report = verify_package(edited(package, tmp_path / "copy", change))
    assert report.verdict == "fail"
    assert message in checks(report)["files"][1]


def swap_model(package: Path, source: Path) -> None:
    shutil.copyfile(source, model_of(package))
    seal(package)


def change_golden(package: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = package / "golden.json"
    golden = json.loads(path.read_text("utf-8"))
    for entry in golden["texts"]:
        change(entry)
    path.write_text(json.dumps(golden), "utf-8")
    seal(package)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.__setitem__("token_ids", e["token_ids"][:-1]), "other token ids"),
        (lambda e: e.__setitem__("text", "query: " + e["text"]), "texts are changed"),
    ],
    ids=["dropped EOS", "wrong prompt"],
)
def test_golden_vectors_notice(
    package: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    copy = edited(package, tmp_path / "copy", lambda p: change_golden(p, change))
    report = verify_package(copy)
    assert report.verdict == "fail"
    assert message in checks(report)["golden"][1]


def test_nothing_is_loaded_where_only_the_sums_were_made_anew(
    package: Path, tmp_path: Path
) -> None:
    copy = edited(package, tmp_path / "copy", lambda p: flip(model_of(p)))
    write_sums(copy)
    report = verify_package(copy)
    assert [check.name for check in report.checks] == ["files", "manifest"]
    assert "not what was packaged" in checks(report)["manifest"][1]


@pytest.mark.parametrize("target", ["/", "/etc/hostname", "."], ids=["root", "file", "loop"])
def test_a_link_in_a_package_fails_and_is_not_followed(
    package: Path, tmp_path: Path, target: str
) -> None:
    copy = edited(package, tmp_path / "copy", lambda p: (p / "LICENSE").unlink())
    (copy / "LICENSE").symlink_to(target)
    with (copy / "SHA256SUMS").open("a", encoding="utf-8") as sums:
        sums.write(f"{'0' * 64}  LICENSE\n")
    report = verify_package(copy)
    assert [check.name for check in report.checks] == ["files"]
    assert "'LICENSE' is a link" in checks(report)["files"][1]
    own = script(copy, sys.executable, "verify.py")
    assert own.returncode == 1
    assert "'LICENSE' is a link" in own.stderr


def test_a_swapped_artifact_fails_its_golden_vectors(package: Path, tmp_path: Path) -> None:
    other = packaged(read_checkpoint(harden(MINIATURE, tmp_path / "hard")), tmp_path)
    copy = edited(package, tmp_path / "copy", lambda p: swap_model(p, model_of(other)))
    found = checks(verify_package(copy))
    assert found["golden"][0] == "fail"
    assert "another file is served" in found["golden"][1]


def drop_eos(path: Path) -> None:
    """Switch off the flag by which llama.cpp adds the end token."""
    from gguf import GGUFReader

    field = GGUFReader(path, "r+").fields["tokenizer.ggml.add_eos_token"]
    assert field.parts[-1][0]
    field.parts[-1][0] = False


def test_a_file_that_adds_no_end_token_fails_in_its_runtime_and_on_a_server(
    package: Path, url: str, tmp_path: Path
) -> None:
    copy = edited(package, tmp_path / "copy", lambda p: drop_eos(model_of(p)))
    with running(LLAMA_CPP, model_of(copy), tokens=LIMIT) as address:
        served = checks(verify_package(package, server=ServerEncoder(address, "any", dim=0)))
    assert served["vectors"][0] == "fail"
    said = "these are the vectors of texts without their end token"
    assert served["vectors"][1].startswith(said)
    seal(copy)
    found = checks(verify_package(copy))
    assert found["golden"][0] == "fail"
    assert "other token ids" in found["golden"][1]


def script(package: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=package,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_packages_own_verify_needs_nothing_but_python(
    package: Path, url: str, tmp_path: Path
) -> None:
    command = (sys.executable, "-I", "-S", "verify.py")
    passed = script(package, *command, "--url", url, "--api", "openai")
    assert passed.returncode == 0, passed.stderr
    assert "ok: 13 texts" in passed.stdout
    assert "texts of over 512 tokens are refused here" in passed.stdout
    with answering(as_ollama(url)) as address:
        assert script(package, *command, "--url", address).returncode == 0
    with answering(changing(url, lambda text: " " + text)) as address:
        failed = script(package, *command, "--url", address)
    assert failed.stderr.startswith("FAILED: these are the vectors of texts with a space in front")
    with answering(vectors_of(100)) as address:
        failed = script(package, *command, "--url", address, "--api", "openai")
    assert failed.returncode == 1
    assert "100 dimensions instead of 256" in failed.stderr
    dead = script(package, *command, "--url", f"http://127.0.0.1:{free_port()}")
    assert dead.returncode == 1
    assert "is the server running?" in dead.stderr
    assert "Traceback" not in dead.stderr
    copy = edited(package, tmp_path / "copy", lambda p: flip(model_of(p)))
    assert "was changed" in script(copy, *command, "--url", url).stderr


def test_the_clients_apply_the_prompts(package: Path, url: str, tmp_path: Path) -> None:
    copy = edited(package, tmp_path / "copy", lambda p: None)
    expected = ServerEncoder(url, "any").encode(["task: 押金 {title}"], dim=64)[0]
    question = " 押金 {title}\n"
    with answering(as_ollama(url)) as address:
        made = script(copy, sys.executable, "client.py", question, "--url", address, "--dim", "64")
        np.testing.assert_allclose(json.loads(made.stdout), expected, atol=1e-5)
        refused = script(copy, sys.executable, "client.py", "押金", "--url", address, "--dim", "65")
        assert refused.returncode != 0
        assert "dim 65 is none of 256, 128, 64" in refused.stderr
        if shutil.which("node") is None:
            pytest.skip("node is not installed: client.mjs was not run")
        made = script(copy, "node", "client.mjs", question, address, "64")
        np.testing.assert_allclose(json.loads(made.stdout), expected, atol=1e-5)
        refused = script(copy, "node", "client.mjs", "押金", address, "65")
        assert refused.returncode != 0
        assert "dim 65 is none of 256, 128, 64" in refused.stderr
    assert check_sums(copy) == []


def test_create_sh_says_where_to_get_ollama(package: Path, tmp_path: Path) -> None:
    assert script(package, "bash", "-n", "create.sh").returncode == 0
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or "")
    ran = script(package, "./create.sh", PATH=str(tools))
    assert ran.returncode == 3
    assert "ollama is not installed; get it from https://ollama.com/download" in ran.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "", "http://0.0.0.0"])
def test_create_sh_proves_the_server_that_ollama_host_names(
    package: Path, url: str, tmp_path: Path, host: str
) -> None:
    """Only the step of making the model is left out, the proof after it is the real one."""
    made = tmp_path / "ollama"
    made.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    made.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with answering(as_ollama(url)) as address:
        at = f"{host}:{address.rsplit(':', 1)[1]}"
        ran = script(package, "./create.sh", "mine", PATH=path, OLLAMA_HOST=at)
    assert ran.returncode == 0, ran.stderr
    assert "create mine -f Modelfile" in ran.stdout
    assert "ok: 13 texts" in ran.stdout
    with answering(vectors_of(100)) as address:
        wrong = script(package, "./create.sh", PATH=path, OLLAMA_HOST=address)
    assert wrong.returncode == 1
    assert "FAILED" in wrong.stderr


@pytest.mark.skipif(shutil.which("ollama") is None, reason="no ollama here: create.sh was not run")
def test_ollama_creates_the_model_and_verify_passes(package: Path) -> None:
    ran = script(package, "./create.sh", "lawvault-test-model")
    assert ran.returncode == 0, ran.stderr
    assert "ok: 13 texts" in ran.stdout
