"""An image classifier as a module: what :class:`~hubserve.models.model.ModelModule` does, and pictures in, classes out."""

import argparse
import time
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Mapping, Sequence

import numpy as np

from hubserve.errors import ConfigError, LoadFailed
from hubserve.models.items import WHOLE
from hubserve.models.model import ModelModule
from hubserve.models.settings import Config
from hubserve.module import find_file, runnable
from hubserve.types import ANY, TensorSpec
from hubserve.vision.codecs import decode_picture
from hubserve.vision.normalize import IMAGENET_MEAN, IMAGENET_STD
from hubserve.vision.operators import create_operators
from hubserve.vision.preprocess import ClassificationPreprocess

_DEFAULT_CROP_PX = 224
_LAYOUTS = ("NCHW", "NHWC")


class ClassifierModule(ModelModule):
    """A model of one input, one picture per item, whose first two-dimensional output has a score per class.

    It answers ``{"prediction": [{"class_ids", "scores", "label_names"}, ...], "elapse": seconds}``, best class first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **ModelModule.defaults,
        "PreProcess": {
            # short side after scaling, and side of the square that is cut out of its centre, in pixels; None: as the model's input asks
            "resize_short": None,
            "crop_size": None,
            # (x * scale - mean) / std per channel, RGB; scale None: 1/255; normalize None: unless the model's input is uint8
            "normalize": None,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "scale": None,
            # None: as the model's input asks
            "layout": None,
            # a PaddleClas list of operators, which starts with the picture in BGR; it replaces all of the above
            "transform_ops": None,
        },
        "PostProcess": {
            "main_indicator": "Topk",
            "Topk": {
                "topk": 5,
                # lines of "<class id> <name>"; None: no names
                "class_id_map_file": None,
                # make probabilities of a model's scores that are none
                "softmax": False,
            },
        },
    }

    def _initialize(self, *args: Any, **given: Any) -> None:
        super()._initialize(*args, **given)
        topk = self.config["PostProcess"]["Topk"]
        self.topk, self.softmax = topk["topk"], topk["softmax"]
        self.labels = self._read_labels(topk["class_id_map_file"])
        self.scores_name = find_scores(self.engine.inputs, self.engine.outputs, self.per_run).name
        self.prepare = make_preprocess(self.config["PreProcess"], self.inputs[0])

    def sections(self) -> List[Config]:
        """See the base class."""
        return [*super().sections(), self.config["PreProcess"], self.config["PostProcess"]["Topk"]]

    def _read_labels(self, path: Any) -> Dict[int, str]:
        if not path:
            return {}
        lines = find_file(path, self.directory).read_text("utf-8").splitlines()
        return {int(number): name for number, _, name in (line.strip().partition(" ") for line in lines if line.strip())}

    @property
    def output_labels(self) -> Dict[str, List[str]]:
        """Output name -> what its classes are called, by index; "" for those without a name."""
        return {self.scores_name: [self.labels.get(number, "") for number in range(max(self.labels) + 1)]} if self.labels else {}

    def preprocess(self, picture: np.ndarray) -> np.ndarray:
        """Uint8 [H, W, 3] BGR -> one item of the model's input."""
        return self.prepare(picture)

    def postprocess(self, outputs: Dict[str, np.ndarray], elapse_s: float) -> Any:
        """The scores [items, classes] of one request -> its answer."""
        scores = outputs[self.scores_name]
        return {"prediction": [self._top(row) for row in (softmax(scores) if self.softmax else scores)], "elapse": elapse_s}

    def _top(self, row: np.ndarray) -> Dict[str, Any]:
        best = np.argsort(-row, kind="stable")[: self.topk].tolist()
        return {
            "class_ids": best,
            "scores": [round(float(row[number]), 5) for number in best],
            "label_names": [self.labels.get(number, "") for number in best],
        }

    def predict(self, inputs: List[np.ndarray]) -> Any:
        """A list of prepared items -> the same answer as the server's."""
        if not isinstance(inputs, list) or not inputs:
            raise ValueError("predict takes a list of one or more arrays, as preprocess gives them")
        start = time.perf_counter()
        answer = self.answer({self.inputs[0].name: np.stack(inputs)})
        return {**answer, "elapse": time.perf_counter() - start}

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run NAME --image_file PHOTO [PHOTO ...]``."""
        parser = argparse.ArgumentParser(prog=f"hub run {self.name}")
        parser.add_argument("--image_file", "--input_path", nargs="+", required=True, help="photos to classify")
        return self.predict([self.preprocess(read_picture(path)) for path in parser.parse_args(argvs).image_file])


def read_picture(path: Any) -> np.ndarray:
    """A picture file -> uint8 [H, W, 3] BGR."""
    return decode_picture(Path(path).read_bytes())


def softmax(scores: np.ndarray) -> np.ndarray:
    """Float [items, classes] -> the same, each row from 0 to 1 and 1 in all."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def find_scores(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], per_run: int) -> TensorSpec:
    """The output of a classifier that has its scores.

    Args:
        inputs: the model's.
        outputs: the model's.
        per_run: as :func:`~hubserve.models.items.items_per_run` gives it.
    Raises:
        LoadFailed: the model is no classifier of pictures.
    """
    found = next((spec for spec in outputs if len(spec.shape) == 2), None)
    if found is None or len(inputs) != 1 or per_run == WHOLE:
        shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in (*inputs, *outputs))
        raise LoadFailed(
            f"a classifier has one input of pictures and an output [pictures, classes], but this model has {shapes}. "
            "Make a module without pictures of it (ModelModule), which serves tensors and JSON."
        )
    return found


def make_preprocess(described: Mapping[str, Any], spec: TensorSpec) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a picture into an item.

    Args:
        described: the settings under ``PreProcess``.
        spec: the model's input, the items first.
    Raises:
        ConfigError: a setting cannot be used.
    """
    if described["transform_ops"] is not None:
        return create_operators(described["transform_ops"])
    shape = spec.shape or (ANY,)
    layout = described["layout"] or layout_of(shape)
    if layout not in _LAYOUTS:
        raise ConfigError(f"layout must be {' or '.join(_LAYOUTS)}, got {layout!r}")
    size = shape[1] if layout == "NHWC" and len(shape) == 4 else shape[-1]
    crop_size = described["crop_size"] or (size if size > 0 else _DEFAULT_CROP_PX)
    resize_short = described["resize_short"] or round(crop_size * 256 / 224)
    normalize = spec.dtype != "uint8" if described["normalize"] is None else described["normalize"]
    normalization = {key: described[key] for key in ("mean", "std", "scale")}
    return ClassificationPreprocess(resize_short, crop_size, normalize, layout == "NCHW", **normalization)


def layout_of(shape: Sequence[int]) -> str:
    """``NHWC`` where a model's input has its three channels last, else ``NCHW``."""
    return "NHWC" if len(shape) == 4 and shape[3] == 3 and shape[1] != 3 else "NCHW"
