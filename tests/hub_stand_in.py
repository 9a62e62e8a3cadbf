"""As much of the Hugging Face Hub as its client needs to make a model repository, commit to it and read it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WRITER, READER = "hf_writer", "hf_reader"


class Hub(ThreadingHTTPServer):
    """A server on a free port of this machine.

    Attributes:
        commits: by repository, its commits from the first, each the content of its files by path.
        uploaded: the sha256 of each large file that was sent, in order.
        fetched: the path of each file that was downloaded, in order.
        spoiled: by path, what is sent in place of the right content.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.uploaded: list[str] = []
        self.fetched: list[str] = []
        self.spoiled: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}

    def files(self, repo: str) -> dict[str, bytes]:
        """What the repository holds now."""
        return self.commits[repo][-1]

    def commit_id(self, repo: str, number: int) -> str:
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield hub
        hub.shutdown()


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _oid(path: str, content: bytes) -> str:
    """A large file's sha256; a small one's hash in git."""
    if _is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    def _answer(self) -> None:
        self.body = self._read_body()
        path = self.path.partition("?")[0]
        for pattern, answer in _ROUTES.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                answer(self, *match.groups())
                return
        self._send(404, {"error": f"the stand-in has no {self.command} {path}"})

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: bytes | dict[str, Any] = b"", **headers: str) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def _may_write(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != WRITER:
            self._send(403 if token == READER else 401, {"error": "no"}, X_Error_Message="no")
        return token == WRITER

    def _commit(self, repo: str, revision: str | None) -> int | None:
        """The number of the commit that is asked for."""
        if repo not in self.server.commits:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        count = len(self.server.commits[repo])
        ids = {self.server.commit_id(repo, number): number for number in range(count)} | {"main": count - 1}
        if (number := ids.get(revision or "main")) is None:
            self._send(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
        return number

    def create(self) -> None:
        asked = json.loads(self.body)
        if not self._may_write():
            return
        repo = f"{asked['organization'] or 'someone'}/{asked['name']}"
        known = repo in self.server.commits
        self.server.commits.setdefault(repo, [{".gitattributes": b""}])
        self._send(409 if known else 200, {"url": f"{self.server.url}/{repo}"})

    def validate(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def info(self, repo: str, revision: str | None = None) -> None:
        if (number := self._commit(repo, revision)) is not None:
            self._send(200, {"id": repo, "sha": self.server.commit_id(repo, number), "tags": [], "siblings": []})

    def preupload(self, repo: str) -> None:
        if self._commit(repo, None) is None or not self._may_write():
            return
        here = self.server.files(repo)
        files = [
            {
                "path": path,
                "uploadMode": "lfs" if _is_large(path) else "regular",
                "shouldIgnore": False,
                "oid": _oid(path, here[path]) if path in here else None,
            }
            for path in (file["path"] for file in json.loads(self.body)["files"])
        ]
        self._send(200, {"files": files})

    def batch(self, repo: str) -> None:
        if not self._may_write():
            return
        objects = [
            item
            if item["oid"] in self.server.large
            else item | {"actions": {"upload": {"href": f"{self.server.url}/large/{item['oid']}"}}}
            for item in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        right = hashlib.sha256(self.body).hexdigest() == oid
        if right:
            self.server.large[oid] = self.body
            self.server.uploaded.append(oid)
        self._send(200 if right else 400)

    def commit(self, repo: str) -> None:
        if not self._may_write():
            return
        files = dict(self.server.files(repo))
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        commits = self.server.commits[repo]
        commits.append(files)
        oid = self.server.commit_id(repo, len(commits) - 1)
        self._send(200, {"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if (number := self._commit(repo, revision)) is None:
            return
        commit = self.server.commit_id(repo, number)
        content = self.server.commits[repo][number].get(path)
        if content is None:
            return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if self.command == "GET":
            self.server.fetched.append(path)
        sent = self.server.spoiled.get(path, content)
        self._send(200, sent, ETag=f'"{_oid(path, content)}"', X_Repo_Commit=commit)


_REPO = r"([^/]+/[^/]+)"
_ROUTES: dict[str, Any] = {
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"GET /api/models/{_REPO}": _Handler.info,
    rf"GET /api/models/{_REPO}/revision/([^/]+)": _Handler.info,
    rf"POST /api/models/{_REPO}/preupload/main": _Handler.preupload,
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /large/([0-9a-f]{64})": _Handler.upload,
    rf"POST /api/models/{_REPO}/commit/main": _Handler.commit,
    rf"(?:HEAD|GET) /{_REPO}/resolve/([^/]+)/(.+)": _Handler.resolve,
}
