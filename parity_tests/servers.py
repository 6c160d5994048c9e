"""Real servers for tests: llama.cpp's own, llama-cpp-python's, and some that answer badly."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LLAMA_CPP = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.embedding, p.port, p.no_extra_bufts = sys.argv[1], True, 0, True
p.n_ctx = p.n_batch = p.n_ubatch = int(sys.argv[2])
p.n_parallel = p.cpuparams.n_threads = 1
server = xllamacpp.Server(p)
print("listening at", server.listening_address, flush=True)
time.sleep(600)
"""
# Its server does not pass `use_extra_bufts` on, without which Q8_0 crashes on AMX.
LLAMA_CPP_PYTHON = """
import socket, sys, uvicorn
import llama_cpp.llama_cpp as c
original = c.llama_model_default_params
def plain():
    parameters = original()
    parameters.use_extra_bufts = False
    return parameters
c.llama_model_default_params = plain
from llama_cpp.server.app import create_app
from llama_cpp.server.settings import ModelSettings, ServerSettings
n = int(sys.argv[2])
model = ModelSettings(model=sys.argv[1], embedding=True, n_ctx=n, n_batch=n, n_ubatch=n,
                      n_threads=1, verbose=False)
app = create_app(server_settings=ServerSettings(), model_settings=[model])
s = socket.socket()
s.bind(("127.0.0.1", 0))
print("listening at", "http://127.0.0.1:%d" % s.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[s])
"""


@contextlib.contextmanager
def running(script: str, model: Path, *, tokens: int) -> Iterator[str]:
    """Run one of the servers above on `model`. Yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(model), str(tokens)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        line = next((row for row in lines if row.startswith("listening at")), None)
        assert line is not None, f"the server ended with {process.wait()}"
        url = line.split()[-1]
        _wait(url)
        yield url
    finally:
        process.kill()
        process.wait()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url + "/v1/models", timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


@contextlib.contextmanager
def answering(reply: Callable[[str, dict[str, Any]], tuple[int, str]]) -> Iterator[str]:
    """Serve whatever `reply` makes of a path and a request: (status, body). Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            status, body = reply(self.path, json.loads(self.rfile.read(size)))
            data = body.encode()
            with contextlib.suppress(OSError):  # the client may be gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def as_ollama(url: str) -> Callable[[str, dict[str, Any]], tuple[int, str]]:
    """Return a reply that speaks Ollama's protocol and lets the engine behind `url` do the work."""

    def reply(path: str, body: dict[str, Any]) -> tuple[int, str]:
        if path != "/api/embed":
            return 404, "404 page not found"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url + "/v1/embeddings", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                data = json.load(answer)
        except urllib.error.HTTPError as error:
            return 400, json.dumps({"error": error.read().decode()})
        return 200, json.dumps({"embeddings": [row["embedding"] for row in data["data"]]})

    return reply


@contextlib.contextmanager
def raw_bytes(data: bytes) -> Iterator[str]:
    """Send `data` to whoever connects, whatever was asked, and close. Yields the URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed below
            while True:
                connection, _ = listening.accept()
                with connection:
                    request = b""
                    while b"}" not in request:  # the whole of it, or closing would reset
                        received = connection.recv(65536)
                        if not received:
                            break
                        request += received
                    connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


@contextlib.contextmanager
def without_end(piece: bytes, *, pause_s: float) -> Iterator[str]:
    """Answer with a body that never ends, `piece` after `piece`. Yields the URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed below
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):  # the client has enough
                    connection.recv(1 << 20)
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while True:
                        connection.sendall(piece)
                        time.sleep(pause_s)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()
