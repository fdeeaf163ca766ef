"""Files that pages load: read at their first use, compressed once, and not sent again to a browser that has them."""

import asyncio
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from hubserve.net.preferences import accepts
from hubserve.pages.example_picture import example_png

_FOLDER = Path(__file__).parent
_SWAGGER = _FOLDER / "swagger_ui"
_OWN = _FOLDER / "files"
_JAVASCRIPT, _CSS, _TEXT = "text/javascript", "text/css", "text/plain"
#: name below ``/docs/`` -> its file and content type
_FILES = {
    "swagger-ui-bundle.js": (_SWAGGER, _JAVASCRIPT),
    "swagger-ui.css": (_SWAGGER, _CSS),
    "LICENSE": (_SWAGGER, _TEXT),
    "NOTICE": (_SWAGGER, _TEXT),
    "swagger-ui-bundle.js.LICENSE.txt": (_SWAGGER, _TEXT),
    "docs.css": (_OWN, _CSS),
    "initializer.js": (_OWN, _JAVASCRIPT),
    "front.js": (_OWN, _JAVASCRIPT),
    "front.css": (_OWN, _CSS),
}


class _Loaded(NamedTuple):
    plain: bytes
    compressed: bytes
    digest: str


class Asset:
    """One file as a response.

    Args:
        read: returns its bytes; called once, in a thread.
        content_type: without the charset, which is UTF-8.
    """

    def __init__(self, read: Callable[[], bytes], content_type: str) -> None:
        self._read = read
        self._content_type = content_type
        self._lock = asyncio.Lock()
        self._loaded: _Loaded | None = None

    async def respond(self, request: Request) -> Response:
        """Return the file, compressed for clients that take gzip; 304 without a body if the client has it."""
        async with self._lock:  # many browsers may ask at once for what is not loaded yet
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(self._load)
        loaded = self._loaded
        compress = accepts(request.headers.get("accept-encoding", ""), "gzip")
        tag = f'"{loaded.digest}{"-gzip" if compress else ""}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}  # no-cache: keep it, but ask first
        if _has(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        if compress:
            headers["Content-Encoding"] = "gzip"
        return Response(loaded.compressed if compress else loaded.plain, media_type=self._content_type, headers=headers)

    def _load(self) -> _Loaded:
        plain = self._read()
        return _Loaded(plain, gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest()[:32])


def assets() -> dict[str, Asset]:
    """Return the files below ``/docs/`` by their names."""
    files = {name: Asset((folder / name).read_bytes, content_type) for name, (folder, content_type) in _FILES.items()}
    return {**files, "example.png": Asset(example_png, "image/png")}


def _has(sent: str, tag: str) -> bool:
    """Return True if ``If-None-Match`` names a tag; a weak one counts, as proxies make tags weak."""
    return sent.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in sent.split(","))
