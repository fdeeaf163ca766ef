"""Has the kernel cut off clients that never read their answers."""

import socket


def end_unread_answers(listener: socket.socket, timeout_s: float) -> None:
    """End connections that ``listener`` accepts when what was sent to them is not taken for ``timeout_s``."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(timeout_s * 1e3)))
