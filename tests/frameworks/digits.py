"""scikit-learn's handwritten digits, as pictures of 28 x 28 pixels."""

import base64
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from filelock import FileLock

from tests.frameworks.home import MISSING, FrameworkHome

_SIDE = 28
_DATA = Path("sklearn", "datasets", "data", "digits.csv.gz")


class Digits(NamedTuple):
    """The data set.

    Attributes:
        file: an ``.npz`` with the two arrays.
        pictures: uint8 (N, 28, 28).
        labels: int64 (N,).
    """

    file: Path
    pictures: np.ndarray
    labels: np.ndarray

    def encoded(self, number: int, form: str = ".jpg") -> str:
        """Return the base64 of one picture's file."""
        return base64.b64encode(cv2.imencode(form, self.pictures[number])[1].tobytes()).decode()


def load_digits(frameworks: FrameworkHome) -> Digits:
    """Return the data set; it is taken from the package scikit-learn, without installing that. Skip the test if that cannot be had."""
    file = frameworks.folder / "digits.npz"
    with FileLock(file.with_suffix(".lock")):
        if not file.is_file():
            np.savez(file, **dict(zip(("pictures", "labels"), _read(_package(frameworks.folder / "digits")), strict=True)))
    with np.load(file) as loaded:
        return Digits(file, loaded["pictures"], loaded["labels"])


def _package(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "scikit-learn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{MISSING} 'digits': scikit-learn, which has them, cannot be installed: {' '.join(done.stderr.split())}")
    return folder / _DATA


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(file, delimiter=",")
    small = (table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    pictures = [cv2.resize(each, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR) for each in small]
    return np.stack(pictures), table[:, 64].astype(np.int64)
