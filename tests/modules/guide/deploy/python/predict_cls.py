"""A classifier that Paddle computes."""

import os
import sys

__dir__ = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.abspath(os.path.join(__dir__, "../")))

import numpy as np
from paddle.inference import Config, create_predictor

from utils import config
from python.pictures import make_steps


class Classifier(object):
    def __init__(self, settings):
        model = Config(settings.Global.inference_model_dir, "inference")
        model.disable_gpu()
        model.disable_glog_info()
        model.set_cpu_math_library_num_threads(settings.Global.cpu_num_threads)
        self.predictor = create_predictor(model)
        self.topk = settings.PostProcess.Topk.topk
        with open(settings.PostProcess.Topk.class_id_map_file) as file:
            self.labels = [line.strip().partition(" ")[2] for line in file]

    def predict(self, pictures):
        source = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        source.copy_from_cpu(np.array(pictures))
        self.predictor.run()
        scores = self.predictor.get_output_handle(self.predictor.get_output_names()[0]).copy_to_cpu()
        answers = []
        for each in scores:
            best = each.argsort()[::-1][: self.topk]
            answers.append(
                {
                    "class_ids": best.tolist(),
                    "scores": np.around(each[best], decimals=5).tolist(),
                    "label_names": [self.labels[number] for number in best],
                }
            )
        return answers
