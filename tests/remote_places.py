"""Servers on the loopback that hold models: S3 (moto's), the interfaces of Hugging Face and ModelScope, an index of a web server."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests

from tests.ports import free_port

#: planted where secrets are; no output and no file may have them
KEY, SECRET, TOKEN = "AKIAPLANTEDKEY000001", "planted/secret+of+the+bucket", "hf_plantedTokenOfTheHub"
S3_ENVIRON = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3:
    """moto's S3 server, in a process of its own, with the bucket ``models``."""

    def __init__(self, log: Path) -> None:
        self.port, self._log = free_port(), log
        self.address = f"s3://127.0.0.1:{self.port}/models"
        self.start()
        self.client().create_bucket(Bucket="models")

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **S3_ENVIRON})
        for _ in range(600):
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{self.port}/moto-api/", timeout=5)
                return
            time.sleep(0.1)
        raise AssertionError(self._log.read_text())

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def put(self, folder: Path, prefix: str) -> None:
        """Upload the files of a folder, as ``aws s3 cp --recursive`` does."""
        client = self.client()
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                client.upload_file(str(each), "models", f"{prefix}/{each.relative_to(folder).as_posix()}")

    def delete(self, prefix: str) -> None:
        client = self.client()
        for each in client.list_objects_v2(Bucket="models", Prefix=prefix).get("Contents", []):
            client.delete_object(Bucket="models", Key=each["Key"])

    def downloads(self) -> list[str]:
        """The objects that were asked for, each as often as it was."""
        lines = self._log.read_text().splitlines()
        return [line.split('"')[1].split()[1] for line in lines if '"GET /models/' in line and "list-type" not in line]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(30)


@contextlib.contextmanager
def s3_server(log: Path) -> Iterator[S3]:
    server = S3(log)
    try:
        yield server
    finally:
        server.stop()


class Hub:
    """Repositories of a hub, by the interfaces of Hugging Face and of ModelScope.

    Attributes:
        files: path -> content, of the repository ``org/name``.
        commit: what ``main`` means.
        in_lfs: paths that are listed with a SHA-256, the others with git's digest.
        lies: path -> content that is sent in place of its own.
        cut: path -> after how many bytes of the body the next answer ends.
        token: that requests must have; "" for none.
        seen: path and headers of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.commit = "1" * 40
        self.in_lfs: set[str] = set()
        self.lies: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.token = ""
        self.hangs = False
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "MODELSCOPE_DOMAIN": self.url,
            "MODELSCOPE_ENDPOINT": self.url,
            "MODELSCOPE_API_TOKEN": TOKEN,
        }

    def sibling(self, path: str) -> dict[str, Any]:
        body = self.files[path]
        blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        lfs = {"lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}} if path in self.in_lfs else {}
        return {"rfilename": path, "size": len(body), "blobId": blob, **lfs}

    def model(self) -> dict[str, Any]:
        return {"id": "org/name", "modelId": "org/name", "sha": self.commit, "siblings": [self.sibling(each) for each in self.files]}

    def modelscope_files(self) -> dict[str, Any]:
        files = [
            {"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(body), "Sha256": hashlib.sha256(body).hexdigest()}
            for path, body in self.files.items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": files}}


def _hub_handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            hub.seen.append((self.path, dict(self.headers)))
            parts = urlsplit(self.path)
            path, query = unquote(parts.path), parse_qs(parts.query)
            if hub.hangs:
                time.sleep(20)
                return
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}" and not path.startswith("/cdn/"):
                self.reply(401, b'{"error": "Invalid credentials"}')
            elif path in ("/api/models/org/name", "/api/models/org/name/revision/main", f"/api/models/org/name/revision/{hub.commit}"):
                self.reply(200, json.dumps(hub.model()).encode())
            elif path.startswith(f"/org/name/resolve/{hub.commit}/"):
                inner = path.partition(f"/resolve/{hub.commit}/")[2]
                self.send_response(302)  # as the hub does for files in LFS, to another host
                self.send_header("Location", f"http://localhost:{hub.port}/cdn/{inner}?X-Amz-Signature={TOKEN}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path.startswith("/cdn/"):
                self.send_file(path.removeprefix("/cdn/"))
            elif path == "/api/v1/models/org/name/repo/files":
                self.reply(200, json.dumps(hub.modelscope_files()).encode())
            elif path == "/api/v1/models/org/name/repo":
                self.send_file(query["FilePath"][0])
            else:
                self.reply(404, b'{"error": "Repository not found", "Code": 10010205001, "Message": "not found"}')

        def send_file(self, path: str) -> None:
            body = hub.lies.get(path, hub.files.get(path))
            if body is None:
                self.reply(404, b"")
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if start and start >= len(body):
                self.reply(416, b"", **{"Content-Range": f"bytes */{len(body)}"})
                return
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            end = start + hub.cut.pop(path, len(body))
            with contextlib.suppress(OSError):
                self.wfile.write(body[start:end])

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def running(handler: Any) -> Iterator[int]:
    """Serve by a handler on a free port, for as long as the context lasts."""
    with ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    with running(_hub_handler(hub)) as hub.port:
        yield hub


@contextlib.contextmanager
def web_index(folder: Path) -> Iterator[str]:
    """The index pages of Python's own web server, which links to files as nginx's do; yields the address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with running(Handler) as port:
        yield f"http://127.0.0.1:{port}/"


def texts_below(*places: Path) -> str:
    """The content of all files in some folders, and of files."""
    found = [each for place in places for each in (place.rglob("*") if place.is_dir() else [place])]
    return "\n".join(each.read_bytes().decode("latin-1") for each in found if each.is_file() and not each.is_symlink())
