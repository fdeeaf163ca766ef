"""The models that are served side by side: how each is made, where it is in a model repository, and what it is asked."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.frameworks.home import FrameworkHome


class Model(NamedTuple):
    """A model of one framework.

    Attributes:
        framework: its profile and its engine, which are called the same.
        network: argument of the maker.
        stored: the file or folder that the maker wrote, and its name in a version's folder.
        input: name of its input.
        output: name of its output.
        config: ``config.pbtxt``; "" for none, so that it is completed from the file.
    """

    framework: str
    network: str
    stored: str
    input: str = "data"
    output: str = "scores"
    config: str = ""

    def made(self, frameworks: FrameworkHome) -> Path:
        """Return the folder that the maker filled."""
        return frameworks.made(self.framework, f"{self.framework}_model", self.network)

    def asked(self, items: int = 1, seed: int = 1) -> dict[str, np.ndarray]:
        """Return arrays for a request of some items."""
        side = 32 if self.network == "tiny" else 224
        shape = (items, side, side, 3) if self.framework == "tensorflow" else (items, 3, side, side)
        return {self.input: np.random.default_rng(seed).random(shape, np.float32)}

    def answers(self, frameworks: FrameworkHome, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what the framework answers by its own API."""
        folder = self.made(frameworks)
        model = folder if self.framework == "oneflow" else folder / self.stored
        (answer,) = frameworks.answers(self.framework, model, arrays).values()
        return answer


ONEFLOW = """backend: "oneflow"
max_batch_size: 8
input [ {{ name: "INPUT_0" data_type: TYPE_FP32 dims: [ 3, {side}, {side} ] }} ]
output [ {{ name: "OUTPUT_0" data_type: TYPE_FP32 dims: [ {classes} ] }} ]
"""

MODELS: Mapping[str, Model] = {
    "mge-tiny": Model("megengine", "tiny", "model.mge"),
    "mge-resnet18": Model("megengine", "resnet18", "model.mge", config='backend: "megengine"\nmax_batch_size: 8\n'),
    "oneflow-tiny": Model("oneflow", "tiny", "model", "INPUT_0", "OUTPUT_0"),
    "oneflow-resnet50": Model("oneflow", "resnet50", "model", "INPUT_0", "OUTPUT_0", ONEFLOW.format(side=224, classes=1000)),
    "savedmodel": Model("tensorflow", "tiny", "model.savedmodel", output="output_0"),
    "exported": Model("pytorch", "tiny", "model.pt2", output="OUTPUT__0"),
    "torchscript": Model("pytorch", "tiny", "model.pt", output="OUTPUT__0"),
}


def store(frameworks: FrameworkHome, folder: Path, models: Mapping[str, Model]) -> Path:
    """Write a model repository; return its folder."""
    for name, model in models.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        made = model.made(frameworks) / model.stored
        if made.is_dir():
            shutil.copytree(made, version / model.stored)
        else:
            shutil.copyfile(made, version / model.stored)
        if model.config:
            (folder / name / "config.pbtxt").write_text(model.config)
    return folder
