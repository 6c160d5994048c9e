"""A headless Chromium, and a server on this machine for what it opens."""

import mimetypes
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from exporter.errors import MissingDependency, require

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# An adapter in software, where there is no GPU. It has no 16-bit shaders.
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".css": "text/css",
    ".html": "text/html",
}


def find_chromium() -> str:
    """Return the path of a Chromium. Raises MissingDependency without one, or without playwright,
    which drives it."""
    require("playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise MissingDependency(
            "chromium",
            install="apt-get install chromium, or get Google Chrome, so that it lies "
            "on the PATH (or leave it out: --runtime node)",
        )
    return found


@contextmanager
def open_chromium(*arguments: str) -> Iterator[Any]:
    """Yield a playwright browser. Raises MissingDependency without playwright or Chromium."""
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    # Its sandbox refuses to run for root, as in containers; what is opened here is our own.
    sandbox = ("--no-sandbox",) if os.name == "posix" and os.geteuid() == 0 else ()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=[*QUIET, *sandbox, *WEBGPU, *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve(folders: Mapping[str, Path]) -> Iterator[str]:
    """Serve folders below their prefixes ("/" or "/name/"), and files, on this machine. Yields the
    address."""
    ordered = sorted(folders.items(), key=lambda item: -len(item[0]))

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def translate_path(self, path: str) -> str:
            asked = unquote(urlparse(path).path)
            prefix, folder = next(
                ((p, f) for p, f in ordered if asked.startswith(p)), ("/", Path("no-such-folder"))
            )
            if folder.is_file():
                return str(folder)
            found = (folder / asked.removeprefix(prefix)).resolve()
            inside = found == folder.resolve() or folder.resolve() in found.parents
            return str(found if inside else folder / "no-such-file")

        def guess_type(self, path: Any) -> str:
            suffix = Path(str(path)).suffix
            return TYPES.get(suffix) or mimetypes.guess_type(str(path))[0] or "text/plain"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: what fails, the browser tells."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of answers that the browser broke off."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
