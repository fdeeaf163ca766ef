"""Image classification with any PaddleClas inference model."""

import argparse
import sys
import time

import numpy as np

from hubserve.engines import EngineOptions, load_engine
from hubserve.module import JsonArray, batch, decode_array, find_file, find_folder, instance_threads, moduleinfo, runnable, serving
from hubserve.vision.codecs import decode_picture
from hubserve.vision.preprocess import ClassificationPreprocess

if __package__:
    from .params import get_default_confg
else:  # run as a script
    from params import get_default_confg


@moduleinfo(
    name="clas_system",
    version="1.0.0",
    author="hubserve",
    summary="Classifies images: top-k classes and scores",
    type="cv/classification",
)
class ClasSystem:
    """The module; see params.py for its settings."""

    def _initialize(self, use_gpu=None, enable_mkldnn=None, **settings):
        config = get_default_confg()
        given = {"use_gpu": use_gpu, "enable_mkldnn": enable_mkldnn, **settings}
        _override(config, {key: value for key, value in given.items() if value is not None})
        params, self.topk = config["Global"], config["PostProcess"]["Topk"]["topk"]
        self.max_batch_size = params["batch_size"]
        options = {key: params[key] for key in EngineOptions._fields if key in params}
        options["cpu_num_threads"] = params["cpu_num_threads"] or instance_threads()
        folder = find_folder(params["inference_model_dir"], self.directory)
        self.engine = load_engine(folder, params["engine"], EngineOptions(**options, max_batch_size=self.max_batch_size))
        self.inputs, self.outputs, self.engine_info = self.engine.inputs, self.engine.outputs, self.engine.describe()
        self.labels = self._read_labels(config["PostProcess"]["Topk"]["class_id_map_file"])
        self.prepare = self._make_prepare(**config["PreProcess"])

    def _read_labels(self, path):
        if not path:
            return {}
        lines = find_file(path, self.directory).read_text("utf-8").splitlines()
        return {int(number): name for number, _, name in (line.strip().partition(" ") for line in lines if line.strip())}

    def _make_prepare(self, resize_short, crop_size):
        size = self.inputs[0].shape[-1]
        crop_size = crop_size or (size if size > 0 else 224)
        return ClassificationPreprocess(resize_short or round(crop_size * 256 / 224), crop_size)

    @batch(json=JsonArray("images", "revert_params"))
    def classify(self, **inputs):
        """Float32 [N, 3, H, W] under the model's input name -> probabilities [N, classes]."""
        return self.engine.run(inputs)[0]

    def preprocess(self, picture):
        """Uint8 [H, W, 3] BGR -> float32 [3, H, W]."""
        return self.prepare(picture)

    def postprocess(self, scores, elapse_s):
        """Probabilities [N, classes] -> the answer to one request."""
        return {"prediction": [self._top(row) for row in scores], "elapse": elapse_s}

    def _top(self, row):
        best = np.argsort(-row, kind="stable")[: self.topk].tolist()
        return {
            "class_ids": best,
            "scores": [round(float(row[number]), 5) for number in best],
            "label_names": [self.labels.get(number, "") for number in best],
        }

    def predict(self, inputs):
        """A list of float32 [3, H, W] -> the same answer as the server's."""
        if not isinstance(inputs, list) or not inputs:
            raise ValueError("predict takes a list of one or more arrays [3, H, W]")
        start = time.perf_counter()
        scores = self.classify(**{self.inputs[0].name: np.stack(inputs)})
        return self.postprocess(scores, time.perf_counter() - start)

    @serving
    def serving_method(self, images, revert_params):
        """What a client posts: base64 of an array [N, 3, H, W] and its shape and dtype."""
        return self.predict(list(decode_array(images, revert_params)))

    @runnable
    def run_cmd(self, argvs):
        """Answer ``hub run clas_system --image_file PHOTO [PHOTO ...]``."""
        parser = argparse.ArgumentParser(prog="hub run clas_system")
        parser.add_argument("--image_file", "--input_path", nargs="+", required=True, help="photos to classify")
        pictures = [read_picture(path) for path in parser.parse_args(argvs).image_file]
        return self.predict([self.preprocess(picture) for picture in pictures])


def _override(config, settings):
    for key, value in settings.items():
        for section in (config["Global"], config["PreProcess"], config["PostProcess"]["Topk"]):
            if key in section:
                section[key] = value
                break
        else:
            known = [*config["Global"], *config["PreProcess"], *config["PostProcess"]["Topk"]]
            raise TypeError(f"clas_system has no setting '{key}'; params.py has {', '.join(known)}")


def read_picture(path):
    """A picture file -> uint8 [H, W, 3] BGR."""
    with open(path, "rb") as file:
        return decode_picture(file.read())


if __name__ == "__main__":
    import os

    module = ClasSystem()
    module.directory = os.path.dirname(os.path.abspath(__file__))
    module._initialize()
    photo = read_picture(sys.argv[1]) if len(sys.argv) > 1 else np.full((300, 400, 3), 127, np.uint8)
    print(module.predict([module.preprocess(photo)]))
