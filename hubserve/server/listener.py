"""Listen on an address, or on a Unix socket."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from hubserve.errors import ConfigError
from hubserve.server import pidfile


def bind(host: str, port: int, unread_timeout_s: float, backlog: int, option: str = "-p", purpose: str = "") -> socket.socket:
    """Listen on an address.

    Args:
        host: the address.
        port: 0 for any free one.
        unread_timeout_s: the kernel ends accepted connections whose client does not read for this long (Linux).
        backlog: connections that may wait to be accepted. All of them are accepted before the first is handled, and take a descriptor each.
        option: the command-line option that sets the port.
        purpose: what the port is for, if not for HTTP.
    Raises:
        ConfigError: the address is in use, or not one of this machine's.
    """
    if port and (running := pidfile.find(port)):
        raise ConfigError(
            f"port {port} is already served by hub serving (pid {running.pid}, modules {', '.join(running.modules)}); "
            f"end it with 'hub serving stop -p {port}' or choose another port with {option}"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit these
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(unread_timeout_s * 1e3)))
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"cannot listen{purpose} on {host}:{port}: {error}. Choose another port with {option}, or end what uses it"
        ) from None
    return listener


@contextlib.contextmanager
def bound_socket(path: Path, backlog: int, setting: str) -> Iterator[socket.socket]:
    """Listen on a Unix socket that only this user and root may open; its file is removed at the end of the ``with`` block.

    Args:
        path: its file.
        backlog: connections that may wait to be accepted.
        setting: that has the path, for messages.
    Raises:
        ConfigError: another server listens there, the path has another file, or it cannot be used.
    """
    try:
        _remove_stale(path, setting)
        listener = bind_private(path)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on the socket '{path}': {error.strerror or error}. Name a path in a folder that exists and that this user may "
            f"write to ({setting})"
        ) from None
    with listener:
        own = path.stat()
        listener.listen(backlog)
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):  # not if another server has replaced it
                if os.path.samestat(own, path.stat()):
                    path.unlink()


def bind_private(path: Path) -> socket.socket:
    """Return a Unix socket that is bound to a path, with the mode 0600 from the start.

    Raises:
        OSError: the path is in use, or cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_name(path) as name:
            listener.bind(name)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Return a name for a path that is never too long for a Unix socket."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove_stale(path: Path, setting: str) -> None:
    """Remove the socket that a killed server left behind.

    Raises:
        ConfigError: it is in use, or another file.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"'{path}' is a file or folder, and no socket; name another path ({setting})")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            with short_name(path) as name:
                client.connect(name)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"another program listens on the socket '{path}'; end it, or name another path ({setting})")
