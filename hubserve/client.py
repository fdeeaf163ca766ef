"""The Python client: arrays, pictures and JSON to one served module.

    from hubserve.client import Client

    with Client("http://127.0.0.1:8866/predict/clas_system") as client:
        print(client.predict_pictures("cat.jpg"))

It needs numpy, OpenCV and requests.
"""

import json
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import requests
from urllib3.exceptions import MaxRetryError

from hubserve.access.keys import key_to_send
from hubserve.errors import ConfigError, HubError, InvalidInput
from hubserve.module import encode_array
from hubserve.types import DTYPES
from hubserve.vision.headers import read_header
from hubserve.wire.client_tls import ClientTls
from hubserve.wire.joined_traces import own_trace

__all__ = ["Client", "ServerError"]

_DONE = "000"
_CONNECT_TIMEOUT_S = 10.0
_SHOWN_CHARACTERS = 300


class ServerError(HubError):
    """The server answered with an error, without a result, or not at all.

    Attributes:
        status: the answer's ``status``, such as ``"101"``; empty if there was none.
        msg: the answer's ``msg``; empty if there was none.
        http_status: the HTTP status code; None if nothing came.
    """

    code = "server_error"

    def __init__(self, message: str, status: str = "", msg: str = "", http_status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.msg = msg
        self.http_status = http_status


class _File(NamedTuple):
    name: str
    data: bytes
    media_type: str


class Client:
    """Client of one module, which keeps its connections open between requests. Threads may share it.

    Every method that sends returns the answer's ``results`` and raises :class:`ServerError` if there are none.

    Args:
        server_url: such as ``http://127.0.0.1:8866/predict/clas_system``.
        timeout_s: how long to wait for an answer, in seconds.
        connections: how many to keep open.
        cacert: of an ``https`` address: PEM file of the authorities to trust. Default: ``requests``' own.
        cert: PEM file of a certificate to present, and of its key.
        key: PEM file of the key, if it is not in ``cert``.
        insecure: accept any certificate.
        api_key: for a server with keys; None for that of the environment variable ``HUB_API_KEY``, if it is set.

    Raises:
        ConfigError: ``server_url`` is not such an address, ``timeout_s`` is not above 0, a file cannot be used, or
            ``api_key`` cannot be a key.
    """

    def __init__(
        self,
        server_url: str,
        timeout_s: float = 60.0,
        connections: int = 16,
        *,
        cacert: str | PathLike[str] = "",
        cert: str | PathLike[str] = "",
        key: str | PathLike[str] = "",
        insecure: bool = False,
        api_key: str | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s must be above 0, got {timeout_s}")
        self.server_url = server_url
        self.timeout_s = timeout_s
        self.module = _module_name(server_url)
        self._tls = _tls_options(server_url, ClientTls(fspath(cacert), fspath(cert), fspath(key), insecure))
        self._session = requests.Session()
        # A proxy of the environment cannot reach this machine's own addresses.
        self._session.trust_env = urlsplit(server_url).hostname not in ("127.0.0.1", "localhost", "::1")
        if sent_key := key_to_send(api_key):
            self._session.headers["X-API-Key"] = sent_key
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=connections))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def predict(self, images: np.ndarray | Sequence[np.ndarray]) -> Any:
        """Send prepared images as JSON with base64, as PaddleClas's own client does.

        Args:
            images: one array [N, 3, H, W], one [3, H, W], or a list of [3, H, W] of equal size and dtype (or in the order H, W, 3).

        Raises:
            InvalidInput: they have another form, or the list is empty.
            ServerError: see the class.
        """
        data, about = encode_array(_stack(images))
        return self.call(images=data, revert_params=about)

    def predict_array(self, array: np.ndarray) -> Any:
        """Send one array as raw bytes: a third fewer bytes than base64, and nothing to decode.

        Args:
            array: the whole batch, such as float32 [N, 3, H, W].

        Raises:
            InvalidInput: its dtype cannot be sent.
            ServerError: see the class.
        """
        array = _sendable(array)
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Hub-Shape": ",".join(str(length) for length in array.shape),
            "X-Hub-Dtype": array.dtype.name,
        }
        return self._send(headers=headers, data=array.tobytes())

    def predict_pictures(self, pictures: str | PathLike[str] | bytes | Sequence[str | PathLike[str] | bytes]) -> Any:
        """Send encoded pictures as they are; the server decodes and prepares them.

        Args:
            pictures: one or several, each the path of a file or the bytes of one, in any format that the server reads.

        Raises:
            InvalidInput: a file cannot be read or is not a picture, or the list is empty.
            ServerError: see the class.
        """
        listed = [pictures] if isinstance(pictures, (str, bytes, PathLike)) else list(pictures)
        if not listed:
            raise InvalidInput("there are no pictures to send: give at least one")
        files = [_read_picture(picture, number) for number, picture in enumerate(listed, start=1)]
        if len(files) == 1:
            return self._send(headers={"Content-Type": files[0].media_type}, data=files[0].data)
        return self._send(files=[("images", tuple(file)) for file in files])

    def call(self, **arguments: Any) -> Any:
        """Send keyword arguments as JSON to any module that takes them.

        Args:
            **arguments: the keyword arguments of the module's serving method.

        Raises:
            InvalidInput: an argument cannot be written as JSON.
            ServerError: see the class.
        """
        try:
            body = json.dumps(arguments, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"the arguments cannot be written as JSON: {error}. Use numbers, text, lists and dicts.") from error
        return self._send(headers={"Content-Type": "application/json"}, data=body)

    def _send(self, **request: Any) -> Any:
        trace = own_trace()
        if trace:  # the server's spans are below that of this program
            request["headers"] = {**request.get("headers", {}), "traceparent": trace}
        timeout = (min(_CONNECT_TIMEOUT_S, self.timeout_s), self.timeout_s)
        try:
            # A redirect would turn the POST into a GET and lose the body.
            response = self._session.post(self.server_url, timeout=timeout, allow_redirects=False, **self._tls, **request)
        except requests.Timeout as error:
            raise ServerError(
                f"no answer from {self.server_url} within {self.timeout_s:g} s: the server is busy or cannot be reached. "
                "Try again, or give it longer with timeout_s."
            ) from error
        except requests.RequestException as error:
            raise self._not_reached(error) from error
        return self._results(response)

    def _not_reached(self, error: requests.RequestException) -> ServerError:
        cause = error.args[0] if error.args else error
        if isinstance(error, requests.exceptions.SSLError):
            reason = cause.reason if isinstance(cause, MaxRetryError) else cause
            return ServerError(
                f"no encrypted connection to {self.server_url} ({reason}). Name the authority that signed the server's certificate "
                "(cacert), and a certificate of yours if the server asks for one (cert, key)."
            )
        if isinstance(cause, MaxRetryError):
            return ServerError(
                f"cannot connect to {self.server_url} ({cause.reason}). Is the server running? "
                f"Start it with `hub serving start -m {self.module}`, or correct the address."
            )
        return ServerError(f"the connection to {self.server_url} broke before the answer came ({error}). See the server log.")

    def _results(self, response: requests.Response) -> Any:
        shown = response.content[:_SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
        code = response.status_code
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):  # not JSON, or not even text
            answer = None
        if not isinstance(answer, dict) or "status" not in answer:
            raise ServerError(
                f"{self.server_url} answered HTTP {code} without a result: {shown or 'nothing'}{self._hint(code)}", http_status=code
            )
        status, msg = str(answer["status"]), str(answer.get("msg", ""))
        if code != 200 or status != _DONE:
            raise ServerError(f"{self.server_url} answered status {status} (HTTP {code}): {msg}", status=status, msg=msg, http_status=code)
        if "results" not in answer:
            raise ServerError(f"{self.server_url} answered without 'results': {shown}", status=status, msg=msg, http_status=code)
        return answer["results"]

    def _hint(self, code: int) -> str:
        if code == 404:
            return f". The address of a module is http://host:port/predict/<module>; is {urlsplit(self.server_url).path} right?"
        return ". Is this the address of a hubserve server?" if code < 400 else ""


def _tls_options(server_url: str, tls: ClientTls) -> dict[str, Any]:
    """Return the arguments of ``requests`` for TLS; those of the environment count where none are given.

    Raises:
        ConfigError: a file cannot be used, or the address is not encrypted.
    """
    if not any(tls):
        return {}
    if urlsplit(server_url).scheme != "https":
        raise ConfigError(f"cacert, cert, key and insecure are for encrypted servers, and {server_url!r} is not one: write https://")
    tls.context()
    return {"verify": tls.verify, "cert": tls.pair}


def _module_name(server_url: str) -> str:
    wanted = f"server_url must be such as http://127.0.0.1:8866/predict/clas_system, got {server_url!r}"
    try:
        parts = urlsplit(server_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # the port is not a number, or the brackets of an IPv6 address do not match
        raise ConfigError(f"{wanted}: {error}") from error
    name = parts.path.rstrip("/").rpartition("/")[2]
    if not usable or not name:
        raise ConfigError(wanted)
    return name


def _stack(images: Any) -> np.ndarray:
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return _sendable(images)
    listed = [images] if isinstance(images, np.ndarray) else list(images)
    if not listed:
        raise InvalidInput("there are no images to send: give at least one")
    for image in listed:
        if not isinstance(image, np.ndarray) or image.ndim != 3:
            got = list(image.shape) if isinstance(image, np.ndarray) else type(image).__name__
            raise InvalidInput(f"images are one array [N, 3, H, W] or a list of arrays [3, H, W], got {got}")
        if image.shape != listed[0].shape or image.dtype != listed[0].dtype:
            raise InvalidInput(
                f"the images of one request must be alike, got {listed[0].dtype.name} {list(listed[0].shape)} "
                f"and {image.dtype.name} {list(image.shape)}: send them in separate requests"
            )
    return _sendable(np.stack(listed))


def _sendable(array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.name not in DTYPES:
        got = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInput(f"cannot send {got}; send a numpy array of one of {', '.join(DTYPES)}")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _read_picture(picture: Any, number: int) -> _File:
    if isinstance(picture, bytes):
        name, data = f"picture_{number}", picture
    elif isinstance(picture, (str, PathLike)):
        name = Path(picture).name
        try:
            data = Path(picture).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read the picture '{picture}': {error.strerror or error}") from error
    else:
        raise InvalidInput(f"a picture is the path of a file or its bytes, got {type(picture).__name__}")
    try:
        return _File(name, data, read_header(data).media_type)
    except InvalidInput as error:
        raise type(error)(f"cannot send '{name}': {error}") from error
