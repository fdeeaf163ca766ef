"""Write models of TensorFlow and Keras with random weights, one folder or file each."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

FLOATS = tf.TensorSpec([None, 4], tf.float32, name="x")


class Scores(tf.Module):
    """A linear layer, by one signature."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(np.random.RandomState(1).randn(4, 3).astype("float32"))

    @tf.function(input_signature=[FLOATS])
    def serve(self, x):
        return {"scores": tf.nn.softmax(tf.matmul(x, self.weights)), "sums": tf.reduce_sum(x, 1)}


class Words(tf.Module):
    """Several signatures: texts, every datatype, a text looked up in a table, and one that fails."""

    def __init__(self):
        super().__init__()
        keys, values = tf.constant(["cat", "dog"]), tf.constant([1, 2], tf.int64)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="text")])
    def upper(self, text):
        return {"upper": tf.strings.upper(text, encoding="utf-8"), "length": tf.strings.length(text), "number": self.table.lookup(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="bytes")])
    def raw(self, bytes):  # noqa: A002 - the name of the input
        return {"again": tf.identity(bytes)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.bool, name="flag"),
            tf.TensorSpec([None, 2], tf.uint8, name="byte"),
            tf.TensorSpec([None, 2], tf.int64, name="long"),
            tf.TensorSpec([None, 2], tf.float16, name="half"),
            tf.TensorSpec([None, 2], tf.bfloat16, name="brain"),
            tf.TensorSpec([None, 2], tf.float64, name="double"),
        ]
    )
    def types(self, flag, byte, long, half, brain, double):
        return {
            "flag": tf.logical_not(flag),
            "byte": byte + tf.constant(1, tf.uint8),
            "long": long * tf.constant(2**40, tf.int64),
            "half": half * 2,
            "brain": brain * 2,
            "double": double / 3,
        }

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="factor"), tf.TensorSpec(None, tf.float32, name="any")])
    def scaled(self, factor, any):  # noqa: A002 - the name of the input
        return {"scaled": any * factor, "total": tf.reduce_sum(any)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="a"), tf.TensorSpec([None, None], tf.float32, name="b")])
    def product(self, a, b):
        return {"product": tf.matmul(a, b)}


class Noisy(tf.Module):
    """A layer whose dropout was left on, so that no two answers agree."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(np.random.RandomState(2).randn(4, 64).astype("float32"))

    @tf.function(input_signature=[FLOATS])
    def serve(self, x):
        return {"y": tf.nn.dropout(tf.matmul(x, self.weights), 0.5)}


class Counter(tf.Module):
    """It keeps a state between requests."""

    def __init__(self):
        super().__init__()
        self.seen = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[FLOATS])
    def serve(self, x):
        self.seen.assign_add(tf.shape(x, tf.int64)[0])
        return {"y": x + 1.0, "roots": tf.linalg.eigvalsh(tf.matmul(x, x, transpose_a=True))[None] + 0.0 * x}


def first(folder, key):
    """Write a SavedModel of TensorFlow 1; its input is called ``key``."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        weights = v1.get_variable("weights", initializer=tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        y = tf.matmul(x, weights)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {key: x}, {"y": y})


def pictures():
    """Return a small network for pictures, NHWC."""
    keras.utils.set_random_seed(4)
    given = keras.Input((64, 64, 3), name="picture")
    x = layers.Conv2D(16, 3, 2, "same", activation="relu")(given)
    for width in (32, 64):
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, 2, "same", use_bias=False)(x))
        x = layers.Add()([layers.ReLU()(y), layers.Conv2D(width, 1, 2)(x)])
    return keras.Model(given, layers.Dense(10, activation="softmax", name="classes")(layers.GlobalAveragePooling2D()(x)))


def keras_models(folder):
    """Write Keras's files."""
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b", dtype="int32")
    one, two = layers.Dense(2, name="d1")(a), layers.Dense(3, name="d2")(layers.Flatten()(layers.Embedding(5, 2)(b)))
    keras.Model({"a": a, "b": b}, {"two": two, "one": one}).save(folder / "dictionary.keras")
    keras.Model([b, a], [two, one]).save(folder / "list.keras")
    plain = keras.Sequential([keras.Input((4,), name="numbers"), layers.Dense(3, activation="softmax", name="scores")])
    plain.save(folder / "plain.keras")
    plain.save(folder / "plain.h5")
    plain.save_weights(folder / "only.weights.h5")
    function = keras.Model(a, layers.Lambda(lambda x: x * 2, output_shape=(4,))(a))
    function.save(folder / "function.keras")
    function.save(folder / "function.h5")

    class Own(keras.Model):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(np.ones((1, 4), "float32"))
    own.save(folder / "own.keras")
    keras.Sequential([layers.Dense(3)]).save(folder / "unbuilt.keras")
    words = layers.TextVectorization(max_tokens=10, output_sequence_length=4)
    words.adapt(["the cat", "the dog"])
    text = [keras.Input((), dtype="string", name="sentence"), words, layers.Embedding(10, 2), layers.GlobalAveragePooling1D()]
    keras.Sequential([*text, layers.Dense(1, name="mood")]).save(folder / "text.keras")


def main():
    """Write them all."""
    folder, save = Path(sys.argv[1]), tf.saved_model.save
    noisy = Noisy()
    save(noisy, str(folder / "noisy"), signatures=noisy.serve)  # before there is a seed, with which others repeat the noise
    keras.utils.set_random_seed(3)
    scores, words, counter = Scores(), Words(), Counter()
    save(counter, str(folder / "counter"), signatures=counter.serve)
    save(scores, str(folder / "scores"), signatures=scores.serve)
    signatures = {each: getattr(words, each) for each in ("raw", "types", "scaled", "product")}
    save(words, str(folder / "words"), signatures={"serving_default": words.upper, **signatures})
    save(tf.Module(), str(folder / "nothing"))
    first(folder / "first", "in")
    network = pictures()
    network.export(str(folder / "pictures"), verbose=False)
    network.save(folder / "pictures.keras")
    keras_models(folder)


if __name__ == "__main__":
    main()
