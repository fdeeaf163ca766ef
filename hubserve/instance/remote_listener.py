"""Start instances for gateways on other machines: ``python -m hubserve.instance --listen HOST:PORT --token-file FILE``.

Each connection that proves to have the key, or a certificate of the right authority, gets an instance process of its own, which lives as
long as the connection. A thread relays the bytes between the connection, which is encrypted (:mod:`hubserve.wire.tls`), and the process's
socket.
"""

import errno
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Callable, List, Tuple

from hubserve.errors import ConfigError
from hubserve.wire.output_marks import OutputLine, OutputLines, shown_ids
from hubserve.wire.tls import ASK_INSTANCE, ASK_PROBE, OK, Identity, Untrusted, receive_line, relay, send_line

#: for the handshake and the gateway's request; below the 10 s after which a gateway gives up
HANDSHAKE_TIMEOUT_S = 8.0
_MAX_HANDSHAKES = 64
_MAX_INSTANCES = 256
_STOP_TIMEOUT_S = 10.0
_LINGER_S = 1.0
_READ_BYTES = 64 << 10
#: as in the server's log
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 1.0
_TLS_HANDSHAKE = b"\x16"
#: older gateways wait for a greeting of 36 bytes, and report that this is not one
_TO_OLD_GATEWAYS = b"hubserve: this listener speaks TLS 1.3; upgrade the gateway\n"
#: a gateway whose machine has failed is noticed within a minute, whether or not data is in flight to it
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


def parse_address(address: str) -> Tuple[str, int]:
    """Split ``host:port`` into its parts.

    Raises:
        ConfigError: the address is malformed.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"'{address}' is not an address; it must look like 10.0.0.5:9000")
    return host.strip("[]"), int(port)


def listen(address: str, key: Identity, command: Callable[[int], List[str]]) -> int:
    """Start an instance for each gateway that connects, until this process is ended.

    Args:
        address: where to listen, ``host:port``; port 0 for any free one, which is printed.
        key: gateways must have it, or a certificate that it accepts.
        command: returns the command line of an instance that serves the given descriptor.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None
        listener.listen()
        log_line(f"listening on {host}:{listener.getsockname()[1]}")
        _Listener(listener, key, command).run()
    return 0


def log_line(text: str) -> None:
    """Write a line to standard error."""
    with suppress(OSError, ValueError):  # the reader of stderr may have closed it
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class _Handshake:
    """A connection that has not authenticated yet."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock, self.peer = sock, peer

    def abort(self) -> None:
        """Shut the connection down from another thread; its own thread sees the end and closes it."""
        with suppress(OSError):
            # SSLSocket's own method would discard TLS state that the other thread uses
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Handshakes:
    """The handshakes in progress; beyond their limit, the peer with the most of them loses its oldest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: List[_Handshake] = []

    def add(self, handshake: _Handshake) -> None:
        with self._lock:
            if len(self._open) >= _MAX_HANDSHAKES:
                peers = [each.peer for each in self._open]
                self._open.pop(peers.index(max(peers, key=peers.count))).abort()
            self._open.append(handshake)

    def discard(self, handshake: _Handshake) -> None:
        with self._lock:
            if handshake in self._open:
                self._open.remove(handshake)


class _Listener:
    def __init__(self, listener: socket.socket, key: Identity, command: Callable[[int], List[str]]) -> None:
        self._listener, self._key, self._command = listener, key, command
        self._handshakes = _Handshakes()
        self._free_instances = threading.BoundedSemaphore(_MAX_INSTANCES)

    def run(self) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                sock, (peer, *_) = self._listener.accept()
            except OSError as error:
                if error.errno != errno.ECONNABORTED:  # most likely no descriptors are left: connections wait until some are closed
                    log_line(f"cannot accept connections now ({error.strerror}); trying again")
                    time.sleep(delay_s)
                    delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
                continue
            delay_s = _FIRST_DELAY_S
            handshake = _Handshake(sock, peer)
            self._handshakes.add(handshake)
            try:
                threading.Thread(target=self._attend, args=(handshake,), daemon=True).start()
            except RuntimeError as error:
                log_line(f"refused {peer}: {error}")
                self._handshakes.discard(handshake)
                sock.close()

    def _attend(self, handshake: _Handshake) -> None:
        """Serve one connection from beginning to end; its errors affect no other connection."""
        deadline = time.monotonic() + HANDSHAKE_TIMEOUT_S
        try:
            try:
                secured = self._secured(handshake, deadline)
                asked = receive_line(secured, deadline)
            finally:
                self._handshakes.discard(handshake)
            if asked == ASK_INSTANCE:
                self._serve(secured)
            else:
                send_line(secured, OK if asked == ASK_PROBE else "it runs another version; upgrade the older side")
        except socket.timeout:
            log_line(f"refused {handshake.peer}: it did not prove within {HANDSHAKE_TIMEOUT_S:g} s {self._key.proof}")
        except Untrusted as error:
            log_line(f"refused {handshake.peer}: {error}")
        except Exception as error:
            log_line(f"lost {handshake.peer}: {error}")
        finally:
            handshake.sock.close()

    def _secured(self, handshake: _Handshake, deadline: float) -> ssl.SSLSocket:
        """Do the TLS handshake, and return the connection once the gateway has proved that it may use this machine."""
        handshake.sock.settimeout(HANDSHAKE_TIMEOUT_S)
        try:
            first = handshake.sock.recv(1, socket.MSG_PEEK)
        except socket.timeout:
            handshake.sock.sendall(_TO_OLD_GATEWAYS)
            raise
        if first != _TLS_HANDSHAKE:
            raise Untrusted("it does not speak TLS" if first else "it closed the connection")
        handshake.sock = secured = self._key.wrap(handshake.sock, server_side=True)
        secured.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            self._key.handshake(secured)
        except Untrusted:
            _let_read(secured)
            raise
        secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                secured.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return secured

    def _serve(self, secured: ssl.SSLSocket) -> None:
        if not self._free_instances.acquire(blocking=False):
            send_line(secured, f"{_MAX_INSTANCES} instances are running there already")
            return
        try:
            child, ours = self._start(secured)
            with ours:
                _relay_to(secured, ours, child)
        finally:
            self._free_instances.release()

    def _start(self, secured: socket.socket) -> "Tuple[subprocess.Popen[bytes], socket.socket]":
        """Start an instance, and return its process and the other end of its socket."""
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    command = self._command(theirs.fileno())
                    return _start_logged(command, theirs.fileno()), ours
                except BaseException:
                    ours.close()
                    raise
        except OSError as error:
            send_line(secured, f"it cannot start an instance: {error.strerror}")
            raise


def _let_read(secured: ssl.SSLSocket) -> None:
    """Give a refused gateway time to read why: closing while it still sends would reset the connection, and lose the alert."""
    deadline = time.monotonic() + _LINGER_S
    with suppress(OSError):
        socket.socket.shutdown(secured, socket.SHUT_WR)
        with socket.socket(fileno=os.dup(secured.fileno())) as raw:
            while deadline > time.monotonic():
                raw.settimeout(max(0.001, deadline - time.monotonic()))
                if not raw.recv(1 << 12):
                    return


def _start_logged(command: List[str], fd: int) -> "subprocess.Popen[bytes]":
    """Start an instance that inherits a descriptor, and log what it writes."""
    read, write = os.pipe()
    try:
        child = subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=write, stderr=write)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    threading.Thread(target=_log_output, args=(read,), name="hubserve-output", daemon=True).start()
    return child


def _log_output(fd: int) -> None:
    """Log the output of an instance, and of processes that it leaves behind, line by line."""
    lines = OutputLines()
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        while True:
            data = pipe.read(_READ_BYTES)
            for line in lines.feed(data) if data else lines.close():
                log_line(_described(line, lines.shown_as))
            if not data:
                return


def _described(line: OutputLine, shown_as: str) -> str:
    """Return a line of an instance with the time, its level, the instance, and the requests that it was written for."""
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line.text.decode("utf-8", "backslashreplace")).replace("\n", "\n  ")
    words = [time.strftime("%Y-%m-%d %H:%M:%S"), logging.getLevelName(line.mark.level), f"[{shown_as}]" if shown_as else ""]
    words += [f"[request {shown_ids(line.mark.ids)}]" if line.mark.ids else "", text]
    words.append(f"... ({line.left_out} more bytes)" if line.left_out else "")
    return " ".join(filter(None, words))


def _relay_to(secured: ssl.SSLSocket, ours: socket.socket, child: "subprocess.Popen[bytes]") -> None:
    """Relay bytes between an instance and its gateway until either ends; the process has ended when this returns."""

    def watch() -> None:
        child.wait()
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)  # a process forked by it may still hold the other end

    try:
        threading.Thread(target=watch, daemon=True).start()
        send_line(secured, OK)
        relay(secured, ours)
    finally:
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
