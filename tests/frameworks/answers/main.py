"""Answer the arrays of a file: ``FRAMEWORK.py GIVEN.npz ANSWERS.npz MODEL``."""

import sys
from pathlib import Path

import numpy as np


def main(load):
    """Write the answers of a model."""
    given, answers, model = map(Path, sys.argv[1:4])
    with np.load(str(given)) as arrays:
        np.savez(str(answers), **load(model, 1)(dict(arrays)))
