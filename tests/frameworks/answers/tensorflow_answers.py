"""A SavedModel's signature, called as TensorFlow's guide does."""

import tensorflow as tf
from main import main


def load(model, threads):
    """Return the function of a SavedModel's folder."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(model))
    signature = loaded.signatures["serving_default"]

    def run(arrays, keep=loaded):
        answers = signature(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: answer.numpy() for name, answer in answers.items()}

    return run


if __name__ == "__main__":
    main(load)
