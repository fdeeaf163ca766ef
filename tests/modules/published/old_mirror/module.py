# coding=utf-8
"""A module in the style of the oldest picture modules: base64 in, lists out; it knows nothing of servers."""

from __future__ import absolute_import
from __future__ import division

import argparse
import ast
import os
import time

import cv2
import numpy as np
import paddlehub as hub
from paddlehub.module.module import moduleinfo, runnable, serving

from old_mirror.processor import base64_to_cv2, cv2_to_base64, postprocess


@moduleinfo(
    name="old_mirror",
    type="CV/image_editing",
    author="hubserve",
    author_email="",
    summary="Mirrors pictures and finds their brightest point.",
    version="1.0.0",
)
class OldMirror(hub.Module):
    def _initialize(self, delay=0):
        self.default_pretrained_model_path = os.path.join(self.directory, "model")
        self.delay = delay

    def mirror(self, images=None, paths=None, batch_size=1, use_gpu=False):
        if images is None:
            images = [cv2.imread(path) for path in paths]
        time.sleep(self.delay)
        res = list()
        for image in images:
            res.append(postprocess(image[:, ::-1]))
        return res

    @serving
    def serving_method(self, images, **kwargs):
        """Run as a service."""
        images_decode = [base64_to_cv2(image) for image in images]
        results = self.mirror(images=images_decode, **kwargs)
        return [dict(result, data=cv2_to_base64(result["data"]), pid=os.getpid()) for result in results]

    @runnable
    def run_cmd(self, argvs):
        """Run as a command."""
        self.parser = argparse.ArgumentParser(
            description="Run the {} module.".format(self.name), prog="hub run {}".format(self.name), usage="%(prog)s", add_help=True
        )
        self.arg_input_group = self.parser.add_argument_group(title="Input options", description="Input data. Required")
        self.arg_config_group = self.parser.add_argument_group(title="Config options", description="Not required.")
        self.arg_config_group.add_argument("--use_gpu", type=ast.literal_eval, default=False, help="whether use GPU or not")
        self.arg_input_group.add_argument("--input_path", type=str, help="path to image.")
        args = self.parser.parse_args(argvs)
        results = self.mirror(paths=[args.input_path], use_gpu=args.use_gpu)
        return [{"brightest": result["brightest"], "size": np.array(result["data"].shape[:2])} for result in results]
