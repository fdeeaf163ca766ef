"""Answer the arrays of a file, or measure how fast: ``FRAMEWORK.py GIVEN.npz ANSWERS.npz|SECONDS MODEL``."""

import sys
import time
from pathlib import Path

import numpy as np

WARM_UP_S = 1.0


def main(load):
    """Write the answers of a model, or print the calls in a second and the processor's ms of one call."""
    given, answers, model = map(Path, sys.argv[1:4])
    with np.load(str(given)) as loaded:
        arrays = dict(loaded)
    run = load(model, 1)
    if answers.suffix == ".npz":
        np.savez(str(answers), **run(arrays))
    else:
        print(*speed(run, arrays, float(str(answers))))


def speed(run, arrays, seconds):
    """Call a function again and again, first to warm up; return the calls in a second, and the processor's ms of one."""
    warm = time.perf_counter() + WARM_UP_S
    run(arrays)
    while time.perf_counter() < warm:
        run(arrays)
    start, used, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < start + seconds:
        run(arrays)
        count += 1
    return count / (time.perf_counter() - start), (time.process_time() - used) / count * 1000
