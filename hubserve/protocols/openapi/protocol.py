"""``GET /openapi.json``: what the server serves now, for Swagger UI and generators of clients."""

import asyncio
import gzip
import hashlib
import json
import weakref
from collections.abc import Hashable
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from hubserve.access.keys import Need
from hubserve.bounded_cache import BoundedCache
from hubserve.gateway.dataplane import ServedModule
from hubserve.net.asgi import base_path, respond, respond_options
from hubserve.net.headers import header
from hubserve.net.preferences import accepts
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.openapi.document import Document
from hubserve.protocols.openapi.reader import reader_of

_PATH = "/openapi.json"
#: documents differ by what their readers may see, and by the path under which a proxy publishes the server
_MOST_DOCUMENTS = 16


class _Answer(NamedTuple):
    body: bytes
    compressed: bytes
    etag: str


class OpenApiProtocol(Protocol):
    """Handler of ``/openapi.json``."""

    prefixes = (_PATH,)
    is_for_modules = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._answers: BoundedCache[Hashable, _Answer] = BoundedCache(_MOST_DOCUMENTS)
        self._lock = asyncio.Lock()

    def need_of(self, scope: Scope) -> Need:  # noqa: ARG002 - it has one path
        """Return that the key must permit to read descriptions."""
        return Need.METADATA

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - it reads no body
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await respond_options(send, "GET, HEAD, OPTIONS")
            return
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"/openapi.json takes GET\n", content_type="text/plain", allow="GET, HEAD, OPTIONS")
            return
        answer = await self._answer(scope)
        headers = {"etag": answer.etag, "cache_control": "private, no-cache", "vary": "Accept-Encoding, Authorization, X-API-Key"}
        if answer.etag in header(scope, b"if-none-match"):
            await respond(send, 304, b"", **headers)
        elif accepts(header(scope, b"accept-encoding"), "gzip"):
            await respond(send, 200, answer.compressed, content_encoding="gzip", **headers)
        else:
            await respond(send, 200, answer.body, **headers)

    async def _answer(self, scope: Scope) -> _Answer:
        """Return the document for the reader of a request; it is made once for each state of the server."""
        modules, root = self._modules(), base_path(scope)
        reader = reader_of(scope, self.context.admin, has_gate=self.context.gate is not None, names=modules)
        key = (reader, root, tuple(weakref.ref(each) for versions in modules.values() for each in versions))
        answer = self._answers.get(key)
        if answer is None:
            async with self._lock:
                answer = self._answers.get(key)
                if answer is None:
                    document = Document(modules, reader, root)
                    answer = self._answers[key] = await asyncio.to_thread(self._write, document)
        return answer

    def _modules(self) -> dict[str, list[ServedModule]]:
        """Return the loaded versions of each module that the reader may use; the one that answers by the name is the last."""
        modules: dict[str, list[ServedModule]] = {}
        for each in self.dataplane:
            if each.is_loaded:
                modules.setdefault(each.name, []).append(each)
        return modules

    def _write(self, document: Document) -> _Answer:
        for describe in self.context.describers:
            describe(document)
        body = _encoded(document.to_json())
        return _Answer(body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _encoded(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # half a character in a name, from a configuration or a model's file
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
