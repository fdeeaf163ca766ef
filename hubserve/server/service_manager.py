"""Report the server's state to the service manager that started it: systemd's protocol for units with ``Type=notify``.

Messages are datagrams to the socket that ``NOTIFY_SOCKET`` names; without that variable nothing is sent. See sd_notify(3).
"""

import asyncio
import contextlib
import os
import socket
import time


class ServiceManager:
    """Connection to the service manager. Its variables are taken out of the environment, so that instances do not inherit them."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        is_watched = watchdog_us.isdigit() and pid in ("", str(os.getpid()))
        self._watchdog_s = int(watchdog_us) / 1e6 if is_watched else 0.0

    def ready(self, status: str) -> None:
        """Report that the modules are loaded, or loaded again."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that modules are being loaded again; :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """Report that the server finishes its requests and ends."""
        self._send("STOPPING=1\nSTATUS=finishing requests in progress")

    async def keep_alive(self) -> None:
        """Report twice in each period of the unit's ``WatchdogSec`` that the event loop runs; return at once without a watchdog."""
        while self._address and self._watchdog_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.setblocking(False)  # a manager that does not read must not hold up requests
            connection.sendto(message.encode(), address)
