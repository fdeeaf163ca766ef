"""``/gradio/<module>``: the page that a module's ``create_gradio_app`` creates, as in PaddleHub 2.3 and later.

The page runs in an app process in the module's environment, started at the first visit; requests below ``/gradio/<module>/`` are forwarded
to it. As in PaddleHub, ``/gradio/<module>`` redirects to ``/gradio/<module>/app``, the page itself.
"""

import html
from urllib.parse import quote, unquote

import orjson
from starlette.types import Message, Receive, Scope, Send

from hubserve.errors import HubError, LoadFailed, ModuleNotFound, TooLarge, Unavailable, UnsupportedFace, drop_frames
from hubserve.instance.app_server import HOST
from hubserve.net.asgi import ClientGone, while_connected
from hubserve.net.headers import header
from hubserve.net.page_headers import PAGE_HEADERS
from hubserve.net.request_body import TooSlow, read_body
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.forwarding import Target, forward
from hubserve.protocols.gradio_apps import GradioApps
from hubserve.telemetry.request_record import note_error

_PREFIX = "/gradio/"
_NO_BODY = (b"content-length", b"0")

_STATUSES: tuple[tuple[type[HubError], int], ...] = (
    (ModuleNotFound, 404),
    (UnsupportedFace, 404),
    (TooLarge, 413),
    (TooSlow, 408),
    (Unavailable, 503),
    (LoadFailed, 503),
    (HubError, 400),
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hubserve</title></head>
<body style="font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem">
<h1>{status}</h1><p>{text}</p></body></html>
"""


class _PageLimit:
    """Limit of requests to pages, whose streams last as long as a page is open, to leave room for others.

    Args:
        limit: most requests to pages in progress.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= self._limit:
            raise Unavailable(f"{self._count} requests to pages of modules are in progress, half of max_concurrency; try again later")
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1


class _Pages:
    """The pages of a server, at whichever of its addresses they are visited."""

    def __init__(self, context: Context) -> None:
        self.apps = GradioApps(context.dataplane, context.all_models, context.settings.root_path.rstrip("/") + _PREFIX)
        self.limit = _PageLimit(max(1, context.settings.max_concurrency // 2))
        context.on_stop.append(self.apps.stop)


class GradioProtocol(Protocol):
    """Handler of ``/gradio/<module>`` and everything below it."""

    prefixes = (_PREFIX,)
    kinds = ("paddlehub",)
    is_mountable = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        pages = context.shared(_Pages)
        self._apps, self._limit = pages.apps, pages.limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        name, slash, rest = _split(scope)
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            with self.admission.admit() as admission, self._limit:
                body = await read_body(scope, self.settings, admission)
                if not self.settings.gradio:
                    raise UnsupportedFace("this server shows no pages of modules ('gradio' is false in its configuration)")
                port = await while_connected(scope, self._apps.port_of(name))
                if not slash:
                    location = f"{scope.get('root_path', '')}{_PREFIX}{quote(name)}/app".encode()
                    await send_on({"type": "http.response.start", "status": 302, "headers": [(b"location", location), _NO_BODY]})
                    await send_on({"type": "http.response.body", "body": b""})
                    return
                target = Target(HOST, port, _target(rest, scope["query_string"]))
                await while_connected(scope, forward(scope, body, send_on, target, self.settings.request_timeout_s))
        except ClientGone as error:
            drop_frames(error)
        except HubError as error:
            drop_frames(error)
            if not started:  # else the response breaks off, which the client sees
                await _refuse(scope, send, error)


def _split(scope: Scope) -> tuple[str, bytes, bytes]:
    """Return the module's name, the slash behind it or b"", and the rest of the raw path."""
    name, slash, rest = scope["raw_path"][len(_PREFIX) :].partition(b"/")
    return unquote(name.decode("latin-1")), slash, rest


def _target(rest: bytes, query: bytes) -> bytes:
    path = b"/" if rest == b"app" else b"/" + rest
    return path + b"?" + query if query else path


async def _refuse(scope: Scope, send: Send, error: HubError) -> None:
    note_error(error)
    status = next(status for cls, status in _STATUSES if isinstance(error, cls))
    if "text/html" in header(scope, b"accept"):
        kind, body = b"text/html; charset=utf-8", _PAGE.format(status=status, text=html.escape(error.message)).encode()
    else:
        answer = {"status": "111", "msg": error.message, "results": "", "error": error.message}
        kind, body = b"application/json", orjson.dumps(answer)
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *PAGE_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
