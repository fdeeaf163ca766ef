"""Remove secrets from the texts of others, and keep libraries from logging them."""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: names of Triton's variable, and of those whose values are secrets
CREDENTIAL_FILE = "TRITON_CLOUD_CREDENTIAL_PATH"
_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "OSS_ACCESS_KEY_ID",
    "OSS_ACCESS_KEY_SECRET",
    "OSS_SECURITY_TOKEN",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
)
#: variables that a server elsewhere needs to read places, by the extra for them; what names a file of this machine is not among them
VARIABLES = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"),
    "azure": (
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_AUTH_TYPE",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_STORAGE_CONNECTION_STRING",
    ),
    "oss": ("OSS_ENDPOINT", "OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SECURITY_TOKEN"),
    "hf": ("HF_TOKEN", "HF_ENDPOINT"),
    "modelscope": ("MODELSCOPE_API_TOKEN", "MODELSCOPE_ENDPOINT"),
}
#: they log requests, some with their headers
_LOGGERS = ("botocore", "aiobotocore", "s3fs", "aiohttp", "fsspec", "gcsfs", "google", "azure", "adlfs", "oss2", "aiooss2", "ossfs")
_MORE_LOGGERS = ("asyncssh", "huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "modelscope_hub", "urllib3", "msal")
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]+")
_USER = re.compile(r"([a-z0-9+]+://)[^\s/@'\"]*:[^\s/@'\"]*@", re.IGNORECASE)
_SHORTEST = 6
_LONGEST_TEXT = 300


def masked(text: str) -> str:
    """Return a text of a library on one line, without queries and users of URLs, and without the secrets that this process knows."""
    text = " ".join(text.split())
    for secret in sorted(_known(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USER.sub(r"\1***@", _QUERY.sub(r"\1", text))[:_LONGEST_TEXT]


def quiet_loggers() -> None:
    """Keep the libraries from logging below warnings, whatever the level of the server's log: what they log has headers with keys."""
    for name in (*_LOGGERS, *_MORE_LOGGERS):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))


def credentials_file() -> dict[str, Any]:
    """Return the content of Triton's credential file; an empty object if there is none."""
    with suppress(KeyError, OSError, ValueError):
        document = json.loads(Path(os.environ[CREDENTIAL_FILE]).read_text("utf-8"))
        return document if isinstance(document, dict) else {}
    return {}


def _known() -> Iterator[str]:
    values = [os.environ.get(name, "") for name in _VARIABLES]
    values += _texts(credentials_file())
    yield from (each for each in values if len(each) >= _SHORTEST)


def _texts(document: Any) -> Iterator[str]:
    for key, value in document.items() if isinstance(document, dict) else ():
        if isinstance(value, str) and key in ("secret_key", "key_id", "session_token", "account_key"):
            yield value
        yield from _texts(value)
