"""A module from before Paddle 2 that builds and runs a program, which needs static mode."""

import numpy as np
import paddle
import paddlehub as hub
from paddlehub.module.module import moduleinfo, runnable, serving


@moduleinfo(name="old_program", version="1.1.0", type="cv/any", summary="Adds.", author="hubserve", author_email="")
class OldProgram(hub.Module):
    def _initialize(self, offset=1.0):
        self.offset = offset

    @serving
    def serving_method(self, values):
        program = paddle.static.Program()
        with paddle.static.program_guard(program):
            x = paddle.static.data(name="x", shape=[-1], dtype="float32")
            y = x + self.offset
        exe = paddle.static.Executor(paddle.CPUPlace())
        (out,) = exe.run(program, feed={"x": np.array(values, "float32")}, fetch_list=[y])
        return out.tolist()

    @runnable
    def run_cmd(self, argvs):
        return self.serving_method([float(each) for each in argvs])
