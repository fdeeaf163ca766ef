"""The guide's client: prepares the pictures and sends them in batches."""

import os
import sys

__dir__ = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.abspath(os.path.join(__dir__, "../")))

import argparse
import base64
import json

import cv2
import numpy as np
import requests

from utils.arrays import to_text


def prepare(path):
    picture = cv2.imread(path)[:, :, ::-1]
    scale = 256.0 / min(picture.shape[:2])
    picture = cv2.resize(picture, (int(round(picture.shape[1] * scale)), int(round(picture.shape[0] * scale))))
    top, left = [(side - 224) // 2 for side in picture.shape[:2]]
    picture = picture[top : top + 224, left : left + 224].astype("float32") / 255
    picture = (picture - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return picture.astype("float32").transpose((2, 0, 1))


def main(args):
    paths = [os.path.join(args.image_file, each) for each in sorted(os.listdir(args.image_file))]
    for begin in range(0, len(paths), args.batch_size):
        names = paths[begin : begin + args.batch_size]
        batch = np.array([prepare(each) for each in names])
        text, shape = base64.b64encode(batch.tobytes()).decode("utf8"), batch.shape
        data = {"images": text, "revert_params": {"shape": shape, "dtype": str(batch.dtype)}}
        answer = requests.post(args.server_url, headers={"Content-type": "application/json"}, data=json.dumps(data)).json()
        if answer["status"] != "000":
            raise Exception(answer["msg"])
        for name, found in zip(names, answer["results"]["prediction"]):
            shown = ", ".join("{}: {}".format(key, found[key]) for key in found)
            print("File:{}, The result(s): {}".format(name.split("/")[-1], shown))
    print("The average time of prediction cost: {:.3f} s/image".format(answer["results"]["elapse"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server_url", type=str)
    parser.add_argument("--image_file", type=str)
    parser.add_argument("--batch_size", type=int, default=1)
    main(parser.parse_args())
