"""Folders, hashes, log records, and imports of Python files."""

import hashlib
import importlib
import os
import socket
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from typing import Any, Iterator

from paddlehub import env
from paddlehub.utils.log import logger


def md5(text: Any) -> str:
    """Return the MD5 digest of a text, which names PaddleHub's cache entries."""
    data = text if isinstance(text, bytes) else str(text).encode("utf-8")
    return hashlib.md5(data).hexdigest()  # noqa: S324 - a name, not a protection


def md5_of_file(file: str) -> str:
    """Return the MD5 digest of a file."""
    digest = hashlib.md5()  # noqa: S324 - as above
    with open(file, "rb") as opened:
        for chunk in iter(lambda: opened.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def mkdir(path: str) -> None:
    """Make a folder and its parents."""
    os.makedirs(path, exist_ok=True)


@contextmanager
def generate_tempfile(directory: str = "", **settings: Any) -> Iterator[Any]:
    """Create a named file that is deleted after the ``with`` block."""
    with tempfile.NamedTemporaryFile(dir=directory or env.TMP_HOME, **settings) as file:
        yield file


@contextmanager
def generate_tempdir(directory: str = "", **settings: Any) -> Iterator[str]:
    """Create a folder that is deleted after the ``with`` block."""
    with tempfile.TemporaryDirectory(dir=directory or env.TMP_HOME, **settings) as folder:
        yield folder


def load_py_module(python_path: str, py_module_name: str) -> Any:
    """Import a module again from a folder."""
    sys.modules.pop(py_module_name, None)
    sys.path.insert(0, python_path)
    try:
        return importlib.import_module(py_module_name)
    finally:
        sys.path.remove(python_path)


def get_record_file() -> str:
    """Return the path of the day's log file in the home."""
    return os.path.join(env.LOG_HOME, time.strftime("%Y%m%d.log"))


def record(msg: Any) -> str:
    """Write a message into the day's log file, and return its path."""
    path = get_record_file()
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {msg}\n")
    return path


def record_exception(msg: str) -> str:
    """Write the current exception into the day's log file, and return its path."""
    path = record(traceback.format_exc())
    logger.warning("%s. The traceback is in '%s'", msg, path)
    return path


def is_port_occupied(ip: str, port: int) -> bool:
    """Return True if a process listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((ip, int(port))) == 0
