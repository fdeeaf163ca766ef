"""Doubles numbers, says which version did, and misbehaves when an item's code asks for it."""

import os
import signal
import subprocess
import time

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo

HANG, LEAK, RAISE, FORK, BREAK, LARGE = 1, 2, 3, 4, 5, 6
#: how long another process holds this one's sockets
_HELD_S = 20
_LARGE_BYTES = 8 << 20


def sockets():
    """Return the descriptors that are sockets."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
        except OSError:  # the listing's own descriptor
            continue
    return found


@moduleinfo(name="checked", version="1.0.0", summary="Doubles numbers; hangs, leaks, raises and dies on request")
class Checked:
    """An item is a value, a code and the MiB to leak; its answer is the value's double."""

    def __init__(self, delay_ms=5.0):
        self.delay_ms = delay_ms
        self.leaked = []
        self.inputs = [TensorSpec("x", "float32", (ANY, 3))]
        self.outputs = [TensorSpec("y", "float32", (ANY, 1))]

    @batch(json=JsonArray("data", "about"), max_batch_size=4)
    def double(self, x):
        """Map float32 (n, 3) to float32 (n, 1)."""
        time.sleep(self.delay_ms / 1000)
        codes = x[:, 1].astype(int)
        if RAISE in codes:
            raise ValueError("an item asked for this error")
        while HANG in codes:
            time.sleep(60)
        if FORK in codes:
            subprocess.Popen(["sleep", str(_HELD_S)], pass_fds=sockets())
            os.kill(os.getpid(), signal.SIGKILL)
        if BREAK in codes:
            for each in sockets():
                os.write(each, b"no frame of any kind, and longer than the head of one")
        self.large = LARGE in codes
        for mebibytes in x[codes == LEAK, 2]:
            self.leaked.append(np.ones(int(mebibytes) << 20, np.uint8))
        return x[:, :1] * 2

    def postprocess(self, y, elapse_s):
        """Return one request's answer."""
        more = {"large": "x" * _LARGE_BYTES} if self.large else {}
        return {**more, "y": y, "version": self.version, "pid": os.getpid(), "elapse_s": elapse_s}
