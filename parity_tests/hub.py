"""A hub on this machine: as much of Hugging Face's protocol as huggingface_hub speaks.

https://github.com/huggingface/huggingface_hub/blob/v0.36.0/src/huggingface_hub/_commit_api.py and
.../lfs.py: create a repository, ask how each file is to be sent, send large ones to LFS by their
SHA-256, then one commit with the small ones inside.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN, OWNER = "hf_test", "lawyer"
COMMIT = "c" * 40
LARGE = (".gguf", ".onnx", ".bin", ".onnx_data")


@dataclass
class Hub:
    """`repositories`: name -> path -> content. `objects`: large files by SHA-256; `sent`: those
    that arrived, in their order. `break_after`: how many large files may arrive before it hangs up.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    break_after: int | None = None
    rejects: tuple[int, str] | None = None
    """Answers every commit with it."""
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Name -> path -> content, for anyone to fetch."""


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve an empty hub, whose owner is OWNER with TOKEN."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            for name, files in hub.datasets.items():
                if path.startswith(f"/api/datasets/{name}/"):
                    listed = [{"rfilename": file} for file in files]
                    return self.answer(200, {"id": name, "sha": COMMIT, "siblings": listed})
                file = path.removeprefix(f"/datasets/{name}/resolve/{COMMIT}/")
                if file in files:
                    return self.give(files[file])
            name = path.removeprefix("/api/models/")
            if name in hub.repositories:
                told = {"id": name, "private": hub.private[name], "siblings": []}
                return self.answer(200, told)
            return self.answer(404, {"error": "Repository not found"}, missing=True)

        def do_HEAD(self) -> None:
            self.do_GET()

        def give(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            parts = self.path.split("?")[0].strip("/").split("/")
            if self.path.startswith("/api/repos/create"):
                return self.create(json.loads(body))
            if self.path.startswith("/api/validate-yaml"):
                return self.answer(200, {"errors": [], "warnings": []})
            if parts[:2] == ["api", "models"] and parts[4] == "preupload":
                return self.preupload("/".join(parts[2:4]), json.loads(body))
            if parts[:2] == ["api", "models"] and parts[4] == "commit":
                return self.commit("/".join(parts[2:4]), body)
            if self.path.endswith("/info/lfs/objects/batch"):
                return self.batch(json.loads(body))
            return self.answer(404, {"error": self.path})

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = hashlib.sha256(content).hexdigest()
            if hub.break_after is not None and len(hub.sent) >= hub.break_after:
                self.close_connection = True
                self.connection.close()
                return
            assert self.path == f"/lfs/{digest}"
            hub.objects[digest] = content
            hub.sent.append(digest)
            self.answer(200, {})

        def create(self, asked: dict[str, Any]) -> None:
            owner = asked.get("organization") or OWNER
            name = f"{owner}/{asked['name']}"
            if owner != OWNER:
                return self.answer(403, {"error": "You don't have the rights"})
            if name in hub.repositories:
                told = {"error": "You already created this", "url": f"{hub.url}/{name}"}
                return self.answer(409, told)
            hub.repositories[name] = {}
            hub.private[name] = bool(asked.get("private"))
            return self.answer(200, {"url": f"{hub.url}/{name}", "name": name})

        def preupload(self, name: str, asked: dict[str, Any]) -> None:
            if name not in hub.repositories:
                return self.answer(404, {"error": "Repository not found"})
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in asked["files"]
            ]
            return self.answer(200, {"files": files})

        def batch(self, asked: dict[str, Any]) -> None:
            found = []
            for one in asked["objects"]:
                entry = {"oid": one["oid"], "size": one["size"]}
                if one["oid"] not in hub.objects:
                    entry["actions"] = {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}
                found.append(entry)
            self.answer(200, {"transfer": "basic", "objects": found})

        def commit(self, name: str, body: bytes) -> None:
            if hub.rejects is not None:
                status, message = hub.rejects
                return self.answer(status, {"error": message})
            made = dict(hub.repositories[name])
            for line in body.decode().splitlines():
                record = json.loads(line)
                value = record["value"]
                if record["key"] == "header":
                    hub.commits.append(value["summary"])
                elif record["key"] == "file":
                    made[value["path"]] = base64.b64decode(value["content"])
                elif record["key"] == "lfsFile":
                    made[value["path"]] = hub.objects[value["oid"]]
            hub.repositories[name] = made
            where = f"{hub.url}/{name}/commit/{len(hub.commits):040x}"
            return self.answer(
                200, {"success": True, "commitUrl": where, "commitOid": f"{len(hub.commits):040x}"}
            )

        def answer(self, status: int, value: Any, *, missing: bool = False) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            if missing:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
