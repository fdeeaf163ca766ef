"""Answer the arrays of a file, or measure how fast: ``FRAMEWORK.py GIVEN.npz ANSWERS.npz|SECONDS MODEL``."""

import sys
import time
from pathlib import Path

import numpy as np

WARM_UP_S = 1.0


def main(load):
    """Write the answers of a model, or print how many calls of one thread a second has."""
    given, answers, model = map(Path, sys.argv[1:4])
    with np.load(str(given)) as loaded:
        arrays = dict(loaded)
    run = load(model, 1)
    if answers.suffix == ".npz":
        np.savez(str(answers), **run(arrays))
    else:
        print(calls_per_second(run, arrays, float(str(answers))))


def calls_per_second(run, arrays, seconds):
    """Call a function again and again, first to warm up."""
    warm = time.perf_counter() + WARM_UP_S
    run(arrays)
    while time.perf_counter() < warm:
        run(arrays)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        run(arrays)
        count += 1
    return count / (time.perf_counter() - start)
