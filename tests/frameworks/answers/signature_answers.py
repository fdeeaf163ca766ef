"""``INPUT.npz OUTPUT.npz MODEL [SIGNATURE]``: compute with TensorFlow's own API, or Keras's."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main():
    """Write the answers, by name."""
    given, output, model, *signature = sys.argv[1:]
    with np.load(given) as loaded:
        arrays = {name: tf.constant(loaded[name]) for name in loaded.files}
    if Path(model).is_file():
        import keras

        network = keras.saving.load_model(model, compile=False)
        answer = network(arrays if len(arrays) > 1 else next(iter(arrays.values())), training=False)
        answers = answer if isinstance(answer, dict) else {network.layers[-1].name: answer}
    else:
        kept = tf.saved_model.load(model)
        answers = kept.signatures[signature[0] if signature else "serving_default"](**arrays)
    np.savez(output, **{name: np.asarray(tensor.numpy(), "S" if tensor.dtype == tf.string else None) for name, tensor in answers.items()})


if __name__ == "__main__":
    main()
