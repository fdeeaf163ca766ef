"""A module that fails in every way it is asked to."""

import ctypes
import os
import sys
import time

from hubserve.module import moduleinfo, serving


@moduleinfo(name="faulty", version="1.0.0", summary="Fails on demand")
class Faulty:
    def _initialize(self, at_start="", delay_s=0.0):
        self.delay_s = delay_s
        self.calls = 0
        if at_start:
            self.fail(at_start)

    @serving
    def fail(self, how="", text=""):
        self.calls += 1
        if self.delay_s:
            time.sleep(self.delay_s)
        if how == "raise":
            raise RuntimeError(text or "it was asked to")
        if how == "exit":
            sys.exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "kill":
            os._exit(7)
        if how == "sleep":
            time.sleep(float(text or 60))
        while how == "until" and not os.path.exists(text):
            time.sleep(0.01)
        if how == "not json":
            return object()
        return {"pid": os.getpid(), "text": text, "calls": self.calls}
