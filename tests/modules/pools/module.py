"""Parses arguments while it is imported, and computes in processes of its own."""

import argparse
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from hubserve.module import moduleinfo, serving

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=3)
OPTIONS = parser.parse_args()


def square(number):
    return number * number


@moduleinfo(name="pools", version="1.0.0", summary="Computes in processes of its own")
class Pools:
    @serving
    def serve(self, what, **arguments):
        return getattr(self, what)(**arguments)

    def argv(self):
        return sys.argv

    def pool(self, how, times=1):
        for _ in range(times):
            with multiprocessing.get_context(how).Pool(2) as pool:
                answer = pool.map(square, range(OPTIONS.size))
        return answer

    def executor(self, how):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(how)) as pool:
            return list(pool.map(square, range(OPTIONS.size)))

    def interpreter(self):
        """Run another Python that imports this module by its name."""
        code = f"from {square.__module__} import square; print(square(7))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout

    def terminated(self, how):
        """Return the exit status of a multiprocessing process that is terminated."""
        process = multiprocessing.get_context(how).Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(10)
        status = process.exitcode
        process.kill()
        return status

    def program(self):
        """Return the exit status of another program that is terminated."""
        process = subprocess.Popen(["sleep", "60"])
        process.terminate()
        status = process.wait(10)
        return status

    def forked(self, ends):
        """Fork a child that leaves the module's code; return its own report and its exit status."""
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            theirs.sendall(",".join(self._links()).encode())
            if ends == "exits":
                sys.exit(3)
            if ends == "raises":
                raise ValueError("a fork raises")
            return "a fork answers"
        theirs.close()
        told = ours.makefile().read()
        return {"parent": self._links(), "child": told.split(","), "status": os.waitpid(child, 0)[1] >> 8}

    @staticmethod
    def _links():
        """Return the sockets and shared memory of this process."""
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:  # the listing's own descriptor
                continue
        return [each for each in links if each.startswith("socket:")]
