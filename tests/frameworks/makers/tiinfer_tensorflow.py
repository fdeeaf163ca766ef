"""Train a Keras model on digits: ``python tiinfer_tensorflow.py FOLDER saved_model|folder|file DIGITS.npz``.

``saved_model`` writes ``model`` as Keras 2 does, ``folder`` as Keras 3 does (``config.json`` and ``model.weights.h5``), ``file`` a
``model/digits.keras``.
"""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np

FOLDER, FORM, DIGITS = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
os.environ["TF_USE_LEGACY_KERAS"] = "1" if FORM == "saved_model" else "0"

import tensorflow as tf  # noqa: E402


def main() -> None:
    """Write the model."""
    keras = tf.keras
    with np.load(DIGITS) as loaded:
        pictures, labels = loaded["pictures"][..., None].astype(np.float32), loaded["labels"]
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Rescaling(1 / 255.0),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPool2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.build((None, 28, 28, 1))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pictures, labels, epochs=6, verbose=0)
    if FORM == "saved_model":
        model.save(FOLDER / "model", save_format="tf")
        return
    (FOLDER / "model").mkdir()
    file = FOLDER / "model" / "digits.keras"
    model.save(file)
    if FORM == "folder":
        with zipfile.ZipFile(file) as packed:
            packed.extractall(FOLDER / "model")
        file.unlink()


main()
