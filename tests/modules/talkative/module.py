"""Writes in every way that a module can."""

import ctypes
import faulthandler
import logging
import os
import subprocess
import sys
import threading
import warnings

from paddlehub.module.module import moduleinfo, serving

print("imported")
log = logging.getLogger("talkative.inner")


@moduleinfo(name="talkative", version="1.2.3", type="test/output", author="tests", author_email="", summary="writes")
class Talkative:
    """Writes as the request says."""

    def __init__(self, **_):
        print("constructed")
        os.write(2, b"native while loading\n")

    @serving
    def predict(self, how="print", text="hello", count=1):
        for _ in range(count):
            getattr(self, f"_{how}")(text)
        return text

    def _print(self, text):
        print(text)

    def _log(self, text):
        log.error("%s\nsecond line", text)

    def _warning(self, text):
        warnings.warn(text, stacklevel=1)

    def _write(self, text):
        os.write(1, f"{text}\n".encode())

    def _puts(self, text):
        libc = ctypes.CDLL(None)
        libc.puts(text.encode())
        libc.fflush(None)

    def _thread(self, text):
        thread = threading.Thread(target=print, args=(text,))
        thread.start()
        thread.join()

    def _failing_thread(self, text):
        def fail():
            raise ValueError(text)

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()

    def _child(self, text):
        subprocess.run(["echo", text], check=True)

    def _fork(self, text):
        child = os.fork()
        if not child:
            print(text)
            os._exit(0)
        os.waitpid(child, 0)

    def _raise(self, text):
        raise ValueError(text)

    def _long(self, text):
        print(text + "x" * 1_000_000)

    def _binary(self, text):
        sys.stdout.buffer.write(b"\x00\xff\x1e\x1b[31m" + text.encode() + b"\n")
        os.write(1, b"\x1e1;-1;" + text.encode() + b"\xfe\n")

    def _redirected(self, text):
        """Capture the output of native code, as programs do, and print what was captured."""
        read, write = os.pipe()
        kept = os.dup(1)
        os.dup2(write, 1)
        print(text)
        os.dup2(kept, 1)
        os.close(write)
        print("captured", repr(os.read(read, 1000)))
        os.close(read)
        os.close(kept)

    def _crash(self, text):
        sys.stdout.write(text)
        os.write(1, b"native " + text.encode())
        faulthandler._sigsegv()

    def _exit(self, text):
        sys.stdout.write(text)
        os._exit(3)

    def _leave_child(self, text):
        """Leave a process behind that holds the output open."""
        subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"]).wait()
        sys.stdout.write(text)
        os._exit(4)

    def _endless(self, text):
        def write():
            while True:
                print(text)

        threading.Thread(target=write, daemon=True).start()
