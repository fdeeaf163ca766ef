import multiprocessing

import numpy as np
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_processes", version="1.0.0", type="CV/test", author="x", author_email="", summary="old names in processes of its own")
class OldProcesses:
    @serving
    def serving_method(self, values):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.map(as_float, values)


def as_float(value):
    return float(np.asscalar(np.array([value], np.float)))
