"""A web server on the loopback that can misbehave in many ways."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DATE = "Sat, 01 Jan 2022 00:00:00 GMT"


class Web:
    """Files and behaviour of the server.

    Attributes:
        files: path -> bytes.
        folder: where other paths are looked up, if anywhere.
        redirects: path -> address.
        statuses: path -> statuses of the next answers, each used once.
        cuts: path -> after how many bytes of a body the next answers are cut off, each used once.
        drips: paths whose body comes as one byte each tenth of a second.
        endless: paths whose body never ends.
        ranges: whether parts can be asked for.
        looks_at_if_range: whether a part of another file than the client has is held back.
        tags: whether answers carry an ETag.
        seen: method, path and headers of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folder: Path | None = None
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, list[int]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.drips: set[str] = set()
        self.endless: set[str] = set()
        self.ranges = self.tags = True
        self.announces_size = self.looks_at_if_range = True
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def body(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        place = self.folder / path.lstrip("/") if self.folder else None
        return place.read_bytes() if place and place.is_file() else None

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path."""
        return [headers for each, headers in self.seen if each == path]


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            web.seen.append((self.path, dict(self.headers)))
            if path in web.redirects:
                self.reply(302, b"", Location=web.redirects[path])
                return
            if web.statuses.get(path):
                self.reply(web.statuses[path].pop(0), b"<html>no</html>")
                return
            if path in web.endless:
                self.never_end()
                return
            body = web.body(path)
            if body is None:
                self.reply(404, b"<html>not here</html>")
                return
            self.serve(path, body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def serve(self, path: str, body: bytes) -> None:
            tag = f'"{hash(body)}"'
            headers = {"ETag": tag} if web.tags else {"Last-Modified": DATE}
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            changed = web.looks_at_if_range and self.headers.get("If-Range") not in (None, tag if web.tags else DATE)
            if not wanted or not web.ranges or changed:
                self.send(path, 200, body, headers)
                return
            start = int(wanted.group(1))
            if start >= len(body):
                self.reply(416, b"", **{"Content-Range": f"bytes */{len(body)}"})
                return
            self.send(path, 206, body[start:], {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})

        def send(self, path: str, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if web.announces_size:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = web.cuts[path].pop(0) if web.cuts.get(path) else len(body)
            with suppress(OSError):
                if path in web.drips:
                    for index in range(len(body)):
                        self.wfile.write(body[index : index + 1])
                        time.sleep(0.1)
                else:
                    self.wfile.write(body[:cut])

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def never_end(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # the client leaves, sooner or later
                while True:
                    self.wfile.write(b"x" * 65536)

    return Handler


@contextmanager
def served() -> Iterator[Web]:
    """A server on a free port, for as long as the context lasts."""
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(web)) as server:
        server.daemon_threads = True
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
