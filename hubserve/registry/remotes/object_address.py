"""Addresses of buckets and SSH servers, in the forms of Triton and of fsspec, and what to open them with."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.downloads.canonical import is_loopback
from hubserve.registry.remotes.secrets import credentials_file

_HOST_AND_PORT = re.compile(r"[0-9A-Za-z.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
_PASSWORD = re.compile(r"(?:https?://)?(?![^/@]+:[0-9]{1,5}/)[^@]*:[^@]*@")
_SSH = re.compile(r"(?:([\w.-]+)@)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_AZURE_ENDPOINT = re.compile(r"(.+)@([a-z0-9]+)\.(?:dfs|blob)\.core\.windows\.net")


class Location(NamedTuple):
    """Arguments of fsspec for an address.

    Attributes:
        protocol: its name for the kind of file system.
        path: for the file system, without a slash at the end.
        endpoint: ``https://HOST:PORT`` of a private service; "" for the public one.
        options: for the file system, without credentials.
        credentials: options that are secrets, or lead to them; called when the file system is opened.
        counts_last_byte: True if the end of a range is its last byte, and not the one after it.
        hides_refusals: True if the library lists nothing where the service refuses to list.
    """

    protocol: str
    path: str
    endpoint: str
    options: dict[str, Any]
    credentials: Callable[[], dict[str, Any]]
    counts_last_byte: bool = False
    hides_refusals: bool = False


def parse_location(text: str, *, allow_http: bool, timeout_s: int) -> Location:
    """Return what to open for an address.

    Raises:
        InstallError: it has no bucket, holds credentials, or leads over ``http://`` to another machine without ``allow_http``.
    """
    scheme, _, rest = text.partition("://")
    if _PASSWORD.match(rest) or any(each in rest for each in "?#"):
        raise InstallError(
            f"an address of {scheme}:// was given with a password, a query or a fragment, and is refused, because addresses are kept and "
            "shown. Keep credentials in the environment, as the page on remote sources describes."
        )
    parse = {"s3": _s3, "gs": _gcs, "gcs": _gcs, "as": _azure_of_triton, "oss": _oss, "ssh": _ssh, "sftp": _ssh}.get(scheme, _azure)
    location = parse(rest, text, timeout_s)
    if not location.path.strip("/"):
        raise InstallError(f"'{text[:120]}' names no bucket or folder. Write {scheme}://BUCKET/FOLDER.")
    safe_parts(location.path.lstrip("/"))
    if location.endpoint.startswith("http://") and not (allow_http or is_loopback(_host_of(location.endpoint))):
        raise InstallError(
            f"'{location.endpoint}' is not used: over http:// others could read and change files on the way. Write "
            "s3://https://HOST:PORT/..., or allow it: hub config install.allow_http==true"
        )
    return location


def _host_of(endpoint: str) -> str:
    return endpoint.partition("://")[2].rpartition(":")[0].strip("[]")


def _s3(rest: str, text: str, timeout_s: int) -> Location:
    scheme = next((each for each in ("http://", "https://") if rest.startswith(each)), "")
    host, _, path = rest.removeprefix(scheme).partition("/")
    endpoint = ""
    if scheme or _HOST_AND_PORT.fullmatch(host):  # Triton's s3://HOST:PORT/BUCKET and s3://https://HOST:PORT/BUCKET
        endpoint = f"{scheme or 'http://'}{host}"
    else:
        path = f"{host}/{path}"
    config: dict[str, Any] = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"max_attempts": 2}}
    options: dict[str, Any] = {"config_kwargs": config}
    if endpoint:
        config["s3"] = {"addressing_style": "path"}
        options["endpoint_url"] = endpoint
    return Location("s3", path.strip("/"), endpoint, options, lambda: _s3_credentials(text))


def _s3_credentials(text: str) -> dict[str, Any]:
    own = _from_file("s3", text)
    names = {"key_id": "key", "secret_key": "secret", "session_token": "token", "profile": "profile"}
    found: dict[str, Any] = {names[key]: value for key, value in own.items() if key in names and value}
    region = own.get("region") or os.environ.get("AWS_DEFAULT_REGION", "")
    if region:
        found["client_kwargs"] = {"region_name": region}
    if not (found.keys() & {"key", "profile"}) and not _has_aws_credentials(os.environ.get("AWS_PROFILE", "")):
        found["anon"] = True  # as Triton does: public buckets need none
    return found


@functools.cache
def _finds_aws_credentials(profile: str) -> bool:
    from botocore.session import Session

    return Session(profile=profile or None).get_credentials() is not None


def _has_aws_credentials(profile: str) -> bool:
    return bool(os.environ.get("AWS_ACCESS_KEY_ID")) or _finds_aws_credentials(profile)


def _gcs(rest: str, text: str, timeout_s: int) -> Location:  # noqa: ARG001 - all have one signature
    def credentials() -> dict[str, Any]:
        path = _from_file("gs", text).get("path") or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        return {"token": path} if path else {}

    return Location("gs", rest.strip("/"), os.environ.get("STORAGE_EMULATOR_HOST", ""), {}, credentials)


def _azure_of_triton(rest: str, text: str, timeout_s: int) -> Location:  # noqa: ARG001 - as above
    """Triton's ``as://ACCOUNT/CONTAINER/FOLDER``."""
    account, _, path = rest.partition("/")
    return Location("abfs", path.strip("/"), "", {}, lambda: _azure_credentials(text, account))


def _azure(rest: str, text: str, timeout_s: int) -> Location:  # noqa: ARG001 - as above
    """``az://CONTAINER/FOLDER`` and ``abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER``."""
    container, _, path = rest.partition("/")
    found = _AZURE_ENDPOINT.fullmatch(container)
    account, container = (found[2], found[1]) if found else ("", container)
    return Location("abfs", f"{container}/{path}".strip("/"), "", {}, lambda: _azure_credentials(text, account))


def _azure_credentials(text: str, account: str) -> dict[str, Any]:
    own = _from_file("as", text)
    if os.environ.get("AZURE_STORAGE_CONNECTION_STRING") and not own:
        return {}  # adlfs reads it
    name = own.get("account_str") or account or os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    key = own.get("account_key") or ("" if own else os.environ.get("AZURE_STORAGE_KEY", ""))
    kind = own.get("auth_type") or os.environ.get("AZURE_STORAGE_AUTH_TYPE", "")
    found: dict[str, Any] = {"account_name": name} if name else {}
    if key:
        return {**found, "account_key": key}
    if kind == "managed_identity":
        from azure.identity.aio import ManagedIdentityCredential

        client = own.get("client_id") or os.environ.get("AZURE_STORAGE_CLIENT_ID", "")
        found["credential"] = ManagedIdentityCredential(client_id=client) if client else ManagedIdentityCredential()
    elif kind == "default":
        found["anon"] = False
    return found


def _oss(rest: str, text: str, timeout_s: int) -> Location:  # noqa: ARG001 - as above
    endpoint = os.environ.get("OSS_ENDPOINT", "")
    if not endpoint:
        raise InstallError("oss:// needs the endpoint of the region: set OSS_ENDPOINT=https://oss-REGION.aliyuncs.com")
    names = {"key": "OSS_ACCESS_KEY_ID", "secret": "OSS_ACCESS_KEY_SECRET", "token": "OSS_SECURITY_TOKEN"}
    own = endpoint if "://" in endpoint else "https://" + endpoint

    def credentials() -> dict[str, Any]:
        return {option: os.environ[variable] for option, variable in names.items() if os.environ.get(variable)}

    checked = own if re.search(r":[0-9]+$", own) else f"{own}:{80 if own.startswith('http://') else 443}"
    location = Location("oss", rest.strip("/"), checked, {"endpoint": own}, credentials)
    return location._replace(counts_last_byte=True, hides_refusals=True)


def _ssh(rest: str, text: str, timeout_s: int) -> Location:  # noqa: ARG001 - as above
    host, _, path = rest.partition("/")
    found = _SSH.fullmatch(host)
    if not found:
        raise InstallError("an address of ssh:// was given without a host. Write ssh://[USER@]HOST[:PORT]/FOLDER.")
    # () means ~/.ssh/known_hosts: without it the library would trust any server
    options: dict[str, Any] = {"host": found[2].strip("[]"), "known_hosts": (), "connect_timeout": timeout_s, "login_timeout": timeout_s}
    options |= {"username": found[1]} if found[1] else {}
    options |= {"port": int(found[3])} if found[3] else {}
    return Location("ssh", "/" + path.strip("/"), "", options, dict)


def _from_file(kind: str, text: str) -> dict[str, str]:
    """Return the entry of Triton's credential file whose name is the longest that the address starts with."""
    entries = credentials_file().get(kind)
    entries = entries if isinstance(entries, dict) else {}
    name = max((each for each in entries if text.startswith(each)), key=len, default=None)
    entry = entries.get(name) if name is not None else None
    if isinstance(entry, str):
        return {"path": str(Path(entry).expanduser())}
    return {key: value for key, value in entry.items() if isinstance(value, str)} if isinstance(entry, dict) else {}
