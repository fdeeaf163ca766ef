"""An image classifier as a module: a :class:`~hubserve.models.model.ModelModule` that takes pictures and answers with classes."""

import argparse
import time
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from hubserve.errors import ConfigError, HubError, LoadFailed, WrongArguments, shown
from hubserve.models.class_names import AUTO, name_classes
from hubserve.models.inference_yml import FILE, InferenceYml, override_preprocess, read_inference_yml
from hubserve.models.items import UNBATCHED
from hubserve.models.model import ModelModule
from hubserve.models.scores import kind_warnings, scores_kind, softmax
from hubserve.models.settings import Config
from hubserve.module import runnable
from hubserve.types import ANY, TensorSpec
from hubserve.vision.codecs import decode_picture
from hubserve.vision.operators import create_operators
from hubserve.vision.preprocess import ClassificationPreprocess

_DEFAULT_CROP_PX = 224
_LAYOUTS = ("NCHW", "NHWC")
#: defaults of the settings and inference.yml
_TOPK: Mapping[str, Any] = {"topk": 5, "softmax": False}


class ClassifierModule(ModelModule):
    """A model of one input, one picture per item, whose first two-dimensional output has a score per class.

    It answers ``{"prediction": [{"class_ids", "scores", "label_names"}, ...], "elapse": seconds}``, best class first.
    """

    nullable = ("class_id_map_file",)
    defaults: ClassVar[Mapping[str, Any]] = {
        **ModelModule.defaults,
        "PreProcess": {
            # None: as in the inference.yml beside the model; without one, by the model's input:
            # short side after scaling, and side of the square that is cut out of its centre, in pixels
            "resize_short": None,
            "crop_size": None,
            # (x * scale - mean) / std per channel, RGB: ImageNet's, and 1/255; normalize: unless the model's input is uint8
            "normalize": None,
            "mean": None,
            "std": None,
            "scale": None,
            # by the model's input
            "layout": None,
            # a PaddleClas list of operators, which starts with the picture in BGR; it replaces all of the above
            "transform_ops": None,
        },
        "PostProcess": {
            "main_indicator": "Topk",
            "Topk": {
                # None: as in inference.yml, else 5
                "topk": None,
                # one name in each line, or "<class id> <name>"; "auto": as in inference.yml, else the default below; None: no names
                "class_id_map_file": AUTO,
                # used if it has exactly as many names as the model has classes
                "default_class_id_map_file": None,
                # apply softmax to scores that are not probabilities; None: as in inference.yml, else False
                "softmax": None,
            },
        },
    }

    def complete_settings(self) -> None:
        """Complete the settings by the ``inference.yml`` beside the model; see the base class.

        Raises:
            ConfigError: its preprocessing is not supported, and the settings have no other.
        """
        self.described = read_inference_yml(self.model_folder)
        described = self.described or InferenceYml({}, {}, {})
        pictures, topk = self.config["PreProcess"], self.config["PostProcess"]["Topk"]
        given = {key: value for key, value in pictures.items() if value is not None}
        if described.unusable and not given:
            raise ConfigError(f"{described.unusable}. Say how under PreProcess in params.py (or init_args), or move {FILE} away.")
        pictures.update(override_preprocess(described.preprocess, given))
        topk.update({key: value for key, value in {**_TOPK, **described.topk}.items() if topk[key] is None})
        over = f", which take precedence over {FILE}" if described.preprocess else ""
        self.prepared_by = f"by the settings{over}" if given else f"as {FILE} says" if described.preprocess else "as its input asks"

    def _initialize(self, *args: Any, **given: Any) -> None:
        super()._initialize(*args, **given)
        topk = self.config["PostProcess"]["Topk"]
        self.topk, self.softmax = topk["topk"], topk["softmax"]
        found = find_scores(self.engine.inputs, self.engine.outputs, self.per_run)
        self.scores_name = found.name
        self.prepare = make_preprocess(self.config["PreProcess"], self.inputs[0])
        scores, failure = self._try_scores()
        classes = found.shape[1] if scores is None else scores.shape[1]
        naming = name_classes(self.described, topk["class_id_map_file"], topk["default_class_id_map_file"], classes, self.directory)
        self.labels = naming.labels
        kind = f"not known: {failure}" if scores is None else scores_kind(scores)
        about = {"pictures": self.prepared_by, "classes": classes, "labels": naming.about}
        kinds = {"scores": f"{kind}; softmax is applied" if self.softmax else kind, "softmax": self.softmax}
        self.engine_info = {**self.engine_info, **about, **kinds, "warnings": [*naming.warnings, *kind_warnings(kind, self.softmax)]}

    def _try_scores(self) -> Tuple[Optional[np.ndarray], str]:
        """Compute the scores [1, classes] of a grey picture; None and the reason if that fails."""
        try:
            item = self.preprocess(np.full((64, 64, 3), 127, np.uint8))
            return np.asarray(self.infer(**{self.inputs[0].name: item[None]})[self.scores_name]), ""
        except HubError as error:
            return None, error.message

    def sections(self) -> List[Config]:
        """See the base class."""
        return [*super().sections(), self.config["PreProcess"], self.config["PostProcess"]["Topk"]]

    @property
    def output_labels(self) -> Dict[str, List[str]]:
        """Output name -> names of its classes, by index; "" for those without a name."""
        return {self.scores_name: [self.labels.get(number, "") for number in range(max(self.labels) + 1)]} if self.labels else {}

    def preprocess(self, picture: np.ndarray) -> np.ndarray:
        """Convert a picture, uint8 [H, W, 3] BGR, to one item of the model's input."""
        return self.prepare(picture)

    def postprocess(self, outputs: Dict[str, np.ndarray], elapse_s: float) -> Any:
        """Return the answer for one request's scores [items, classes]."""
        scores = outputs[self.scores_name]
        if scores.dtype.kind != "f":  # unsigned, of a quantised model
            scores = scores.astype(np.float64)
        return {"prediction": [self._top(row) for row in (softmax(scores) if self.softmax else scores)], "elapse": elapse_s}

    def _top(self, row: np.ndarray) -> Dict[str, Any]:
        best = np.argsort(-row, kind="stable")[: self.topk].tolist()
        return {
            "class_ids": best,
            "scores": [round(float(row[number]), 5) for number in best],
            "label_names": [self.labels.get(number, "") for number in best],
        }

    def serve_other(self, arguments: Mapping[str, Any]) -> Any:
        """Answer ``{"images": ...}``, base64 of one picture or a list of such; see the base class."""
        if set(arguments) != {"images"}:
            return super().serve_other(arguments)
        images = arguments["images"]
        listed = images if isinstance(images, list) else [images]
        if not listed or not all(isinstance(each, str) for each in listed):
            raise WrongArguments(f"'images' must be base64 text of a picture, or a list of such texts, got {shown(images)}")
        return self.predict([self.preprocess(decode_picture(each)) for each in listed])

    def predict(self, inputs: List[np.ndarray]) -> Any:
        """Return the server's answer for a list of prepared items."""
        if not isinstance(inputs, list) or not inputs:
            raise ValueError("predict takes a list of one or more arrays, as preprocess returns them")
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
    """Read a picture file as uint8 [H, W, 3] BGR."""
    return decode_picture(Path(path).read_bytes())


def find_scores(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], per_run: int) -> TensorSpec:
    """Find the output of a classifier that has its scores.

    Args:
        inputs: the model's.
        outputs: the model's.
        per_run: as :func:`~hubserve.models.items.items_per_run` returns it.
    Raises:
        LoadFailed: the model is not a classifier of pictures.
    """
    found = next((spec for spec in outputs if len(spec.shape) == 2), None)
    if found is None or len(inputs) != 1 or per_run == UNBATCHED:
        shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in (*inputs, *outputs))
        raise LoadFailed(
            f"a classifier has one input of pictures and an output [pictures, classes], but this model has {shapes}. "
            "Make a module without pictures of it (ModelModule), which serves tensors and JSON."
        )
    return found


def make_preprocess(described: Mapping[str, Any], spec: TensorSpec) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that converts a picture to an item.

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
    normalization = {key: described[key] for key in ("mean", "std", "scale") if described[key] is not None}
    return ClassificationPreprocess(resize_short, crop_size, normalize, layout == "NCHW", **normalization)


def layout_of(shape: Sequence[int]) -> str:
    """Return ``NHWC`` if a model's input has its three channels last, else ``NCHW``."""
    return "NHWC" if len(shape) == 4 and shape[3] == 3 and shape[1] != 3 else "NCHW"
