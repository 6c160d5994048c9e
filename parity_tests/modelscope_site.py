"""A ModelScope on this machine: as much of its protocol as modelscope-hub speaks to publish.

https://github.com/modelscope/modelscope_hub/blob/main/src/modelscope_hub/_legacy_api.py: create a
repository, ask which large files are wanted, send each to its address, then one commit that names
those by their SHA-256 and holds the small ones.
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

TOKEN, OWNER = "ms-test", "lawyer"
EXISTS = 10010101001
PRIVATE, PUBLIC = 1, 5


@dataclass
class Site:
    """`repositories`: name -> path -> content. `created`: what was asked of each new one.
    `objects`: large files by SHA-256; `sent`: those that arrived, in their order. `break_after`:
    how many large files may arrive before it hangs up. `rejects`: answers every commit with it.
    `loses`: a file that no commit brings."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    break_after: int | None = None
    rejects: tuple[int, str] | None = None
    loses: str | None = None


@contextlib.contextmanager
def running_site() -> Iterator[Site]:
    """Serve an empty site, whose owner is OWNER with TOKEN."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].removeprefix("/api/v1/models/")
            if name.endswith("/repo/files"):
                found = site.repositories[name.removesuffix("/repo/files")]
                listed = [{"Path": path, "Size": len(one)} for path, one in found.items()]
                return self.give({"Files": listed})
            name = self.path.removeprefix("/openapi/v1/models/")
            if name not in site.repositories:
                return self.refuse(404, "模型不存在")
            private = site.created[name]["Visibility"] == PRIVATE
            return self.answer({"success": True, "data": {"id": name, "private": private}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.refuse(401, "用户未登录")
            assert f"m_session_id={TOKEN}" in self.headers["Cookie"]
            if self.path == "/api/v1/models":
                return self.create(body)
            name, _, rest = self.path.removeprefix("/api/v1/repos/models/").partition("/")
            owned, _, rest = f"{name}/{rest}".partition("/info/lfs/objects/")
            if rest == "batch":
                return self.batch(body)
            owned, _, branch = owned.partition("/commit/")
            assert branch == "master", self.path
            return self.commit(owned, body)

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = hashlib.sha256(content).hexdigest()
            if site.break_after is not None and len(site.sent) >= site.break_after:
                self.close_connection = True
                self.connection.close()
                return
            assert self.path == f"/lfs/{digest}"
            site.objects[digest] = content
            site.sent.append(digest)
            self.answer({"Code": 200})

        def create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['Path']}/{asked['Name']}"
            if asked["Path"] != OWNER:
                return self.refuse(403, "no permission to create in this namespace")
            if name in site.repositories:
                return self.refuse(400, "该名称已被注册使用，请重新命名", code=EXISTS)
            site.repositories[name], site.created[name] = {}, asked
            return self.give({"Path": OWNER, "Name": asked["Name"]})

        def batch(self, asked: dict[str, Any]) -> None:
            assert asked["operation"] == "upload"
            wanted = [one for one in asked["objects"] if one["oid"] not in site.objects]
            return self.give(
                {
                    "objects": [
                        one | {"actions": {"upload": {"href": f"{site.url}/lfs/{one['oid']}"}}}
                        for one in wanted
                    ]
                }
            )

        def commit(self, name: str, asked: dict[str, Any]) -> None:
            if name not in site.repositories:
                return self.refuse(404, "模型不存在")
            if site.rejects is not None:
                return self.refuse(*site.rejects)
            made = dict(site.repositories[name])
            for action in asked["actions"]:
                assert action["action"] == "create"
                if action["type"] == "lfs":
                    content = site.objects[action["sha256"]]
                else:
                    content = base64.b64decode(action["content"])
                assert len(content) == action["size"]
                if action["path"] != site.loses:
                    made[action["path"]] = content
            site.repositories[name] = made
            site.commits.append(asked["commit_message"])
            return self.give({"CommitId": f"{len(site.commits):040x}"})

        def give(self, data: Any) -> None:
            self.answer({"Code": 200, "Success": True, "Data": data})

        def refuse(self, status: int, message: str, *, code: int | None = None) -> None:
            self.answer({"Code": code or status, "Success": False, "Message": message}, status)

        def answer(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
