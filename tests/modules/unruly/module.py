"""Damages its instance as a broken module might: writes to its sockets, cuts its memory, forks and dies."""

import json
import os
import signal
import struct
import time

from hubserve.module import moduleinfo, serving


def links():
    """Return (number, target) of the descriptors of this process."""
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:  # the listing's own descriptor
            continue
    return found


def sockets():
    return [number for number, what in links() if what.startswith("socket:") and number > 2]


def frame(header, payload_bytes=0):
    text = json.dumps(header).encode()
    return struct.pack("<4sIQ", b"HUB1", len(text), payload_bytes) + text


@moduleinfo(name="unruly", version="1.0.0", summary="Does what a broken module might")
class Unruly:
    def __init__(self, load_s=0.0):
        time.sleep(load_s)

    @serving
    def serve(self, what="nothing", **arguments):
        getattr(self, what)(**arguments)
        return os.getpid()

    def nothing(self):
        pass

    def echo(self, text):
        pass

    def forge(self, header, payload_bytes=0):
        """Write a frame of its own in place of the answer."""
        os.write(sockets()[0], frame(header, payload_bytes))

    def write(self, text):
        os.write(sockets()[0], text.encode("latin-1"))

    def truncate(self):
        for number, what in links():
            if "memfd" in what:
                try:
                    os.ftruncate(number, 0)
                except OSError:
                    continue

    def fork_and_die(self, seconds):
        """Start a program that inherits the sockets, and die."""
        for number in sockets():
            os.set_inheritable(number, True)
        os.posix_spawn("/bin/sleep", ["sleep", str(seconds)], os.environ)
        os.kill(os.getpid(), signal.SIGKILL)
