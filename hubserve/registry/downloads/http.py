"""GET requests with limits on redirects, silence and size. Credentials are sent to their own host only."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import check_address, credentials_of, origin_of, without_secrets

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

CHUNK_BYTES = 256 << 10
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
#: less than this in a period of ``fetch_timeout_s`` counts as nothing
MIN_PROGRESS_BYTES = 1024


class Interrupted(InstallError):
    """The connection was cut, refused or silent; a later try may succeed."""


class NoAnswer(Interrupted):
    """There was no response, not even its head."""


class _Bearer:
    """Authentication by the header that is there already; without it requests would look into ~/.netrc, and overwrite the header."""

    def __call__(self, request: "PreparedRequest") -> "PreparedRequest":
        """Leave the request as it is."""
        return request


@contextmanager
def get(
    url: str, settings: InstallSettings, headers: Mapping[str, str] | None = None, *, bearer: str = "", method: str = "GET"
) -> Iterator["Response"]:
    """Send a GET request and follow redirects; the body is not read yet, and is not compressed (``Accept-Encoding: identity``).

    Args:
        url: a user and password in it are sent to its own host only.
        settings: whether http is allowed, and how long a server may be silent.
        headers: additional headers.
        bearer: a token, sent to the URL's own host only; "" for none.
        method: ``GET``, or ``HEAD`` for an answer without a body.
    Raises:
        InstallError: an address or a redirect is refused.
        NoAnswer: there is no response.
    """
    import requests

    sent = {"Accept-Encoding": "identity", "User-Agent": "hubserve", **(headers or {})}
    first, target = urlsplit(url), url
    for _ in range(MAX_REDIRECTS + 1):
        parts = check_address(target, allow_http=settings.allow_http)
        is_own = origin_of(parts) == origin_of(first)
        auth = credentials_of(first) if is_own else None
        token = {"Authorization": f"Bearer {bearer}"} if bearer and is_own else {}
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        try:
            response = requests.request(
                method,
                bare,
                headers={**sent, **token},
                auth=_Bearer() if token else auth,
                stream=True,
                allow_redirects=False,
                timeout=(settings.fetch_timeout_s, settings.fetch_timeout_s),
            )
        except (requests.RequestException, OSError) as error:
            raise _no_answer(target, error) from error
        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
            with response:
                yield response
            return
        response.close()
        target = _redirected(target, response.headers["Location"])
    raise InstallError(f"'{without_secrets(url)}' redirects more than {MAX_REDIRECTS} times. Give the address that it finally leads to.")


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise InstallError(
            f"'{without_secrets(url)}' redirects to '{without_secrets(target)}', which is not https, so it is not followed: others could "
            "change the file on the way. Give another address."
        )
    # Credentials come from the user only, never from the server.
    return urlsplit(target)._replace(netloc=urlsplit(target).netloc.rpartition("@")[2]).geturl()


def _no_answer(url: str, error: BaseException) -> NoAnswer:
    return NoAnswer(f"'{without_secrets(url)}' does not answer ({_reason(error)}). Check the address and the network, then try again.")


def _reason(error: BaseException) -> str:
    """Return the innermost reason; the outer ones repeat the address with its secrets."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {str(error)[:150]}"


def chunks(response: "Response", settings: InstallSettings, url: str) -> Iterator[bytes]:
    """Yield the body as it arrives, without decoding it.

    Raises:
        Interrupted: the connection is cut, silent, or almost silent.
    """
    import urllib3

    since, received_bytes = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            received_bytes += len(chunk)
            yield chunk
            if time.monotonic() - since > settings.fetch_timeout_s:
                if received_bytes < MIN_PROGRESS_BYTES:
                    raise Interrupted(
                        f"'{without_secrets(url)}' sent only {received_bytes} bytes in {settings.fetch_timeout_s} s, so it was stopped. "
                        "Try again later, or wait longer: hub config install.fetch_timeout_s==SECONDS"
                    )
                since, received_bytes = time.monotonic(), 0
    except (urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
        raise Interrupted(f"the connection to '{without_secrets(url)}' was cut ({_reason(error)}). Try again.") from error


def get_small(url: str, settings: InstallSettings, max_bytes: int) -> bytes | None:
    """Return a small document; None if the address has none.

    Raises:
        InstallError: it is over ``max_bytes``, or the server answers with an error.
        Interrupted: there is no response, or only a part of it.
    """
    with get(url, settings) as response:
        if response.status_code in (404, 410):
            return None
        check_status(response, url)
        body = bytearray()
        for chunk in chunks(response, settings, url):
            body += chunk
            if len(body) > max_bytes:
                raise InstallError(
                    f"'{without_secrets(url)}' is over {max_bytes} bytes, more than such a document may have. Is it the right one?"
                )
        announced = content_length(response)
        if announced is not None and len(body) < announced:
            raise Interrupted(f"'{without_secrets(url)}' sent {len(body)} of {announced} bytes only. Try again.")
        return bytes(body)


def content_length(response: "Response") -> int | None:
    """Return the announced number of bytes; None if there is none."""
    with suppress(KeyError, ValueError):
        return max(0, int(response.headers["Content-Length"]))
    return None


def check_status(response: "Response", url: str) -> None:
    """Accept 200 and 206.

    Raises:
        InstallError: any other status; the message explains it.
        Interrupted: a temporary status.
    """
    status, shown = response.status_code, without_secrets(url)
    if status in (200, 206):
        return
    if status in (408, 425, 429) or status >= 500:
        raise Interrupted(f"'{shown}' answers with status {status}: it is not available now. Try again later.")
    if status in (401, 403, 407):
        raise InstallError(f"'{shown}' answers with status {status}: it needs credentials, or other ones. Put them into ~/.netrc.")
    why = "there is nothing at this address" if status in (404, 410) else str(response.reason or "unexpected")[:80]
    raise InstallError(f"'{shown}' answers with status {status}: {why}. Check the address.")
