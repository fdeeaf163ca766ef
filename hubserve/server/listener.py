"""Listen on an address."""

import socket

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
