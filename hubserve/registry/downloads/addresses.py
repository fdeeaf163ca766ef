"""URLs of downloads: which are allowed, how to show them without secrets, how to parse their fragments."""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from hubserve.errors import InstallError
from hubserve.registry.downloads.canonical import is_loopback

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PORTS = {"https": 443, "http": 80}


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment, so that it can be shown and stored."""
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return parts._replace(netloc=host, query="", fragment="").geturl()


def check_address(url: str, *, allow_http: bool) -> SplitResult:
    """Return the parts of a URL that may be fetched.

    Raises:
        InstallError: it is neither https nor http, or http to another machine without ``allow_http``.
    """
    parts = _split(url)
    shown = without_secrets(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InstallError(
            f"'{shown}' cannot be fetched: hub fetches from https://HOST/... and, for git, from git+https://HOST/... addresses."
        )
    if parts.scheme == "http" and not (allow_http or is_loopback(parts.hostname)):
        raise InstallError(
            f"'{shown}' is not fetched: over http:// others could read and change it on the way. Use https://, or allow it: "
            "hub config install.allow_http==true"
        )
    return parts


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InstallError(
            f"{url.partition('@')[2][:120] or url[:120]!a} is not a valid address: {error}. Write https://HOST/PATH."
        ) from None
    if any(each.isspace() or not each.isprintable() for each in url):
        raise InstallError("the address holds spaces or control characters. Write a space in an address as %20.")
    return parts


def origin_of(parts: SplitResult) -> tuple[str, str, int]:
    """Return scheme, host and port: the scope of credentials."""
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def credentials_of(parts: SplitResult) -> tuple[str, str] | None:
    """Return user and password of a URL; None without either."""
    return (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username or parts.password else None


def split_fragment(text: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Split ``#key=value&key=value`` from an address.

    Raises:
        InstallError: a key is not among ``known``, or its value is missing.
    """
    address, _, fragment = text.partition("#")
    pairs = [each.partition("=") for each in fragment.split("&") if fragment]
    values = {key: unquote(value) for key, _, value in pairs}
    bad = next((key or "=" for key, value in values.items() if key not in known or not value), "")
    if bad:
        raise InstallError(f"{('#' + bad)[:80]!a} after an address is unknown. Known: {', '.join(f'#{each}=...' for each in known)}.")
    return address, values


def check_sha256(text: str) -> str:
    """Return the 64 hexadecimal digits of ``sha256:DIGITS`` or ``DIGITS``; an empty text stays empty.

    Raises:
        InstallError: it is not such a digest.
    """
    digits = text.strip().lower().removeprefix("sha256:").removeprefix("sha256=")
    if digits and not _SHA256.fullmatch(digits):
        raise InstallError(f"{text[:80]!a} is not a digest: write sha256: and 64 hexadecimal digits, as sha256sum prints them.")
    return digits
