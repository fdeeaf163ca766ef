"""Write a network with random weights as ``model.savedmodel``: ``data``, channels last, to scores. Arguments: FOLDER tiny|resnet18."""

import sys
from pathlib import Path

import keras
from keras import layers


def convolution(x, width, side, stride):
    """Add a convolution and its normalisation."""
    x = layers.Conv2D(width, side, stride, "same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization()(x)


def resnet18():
    """Return the network of 18 layers: (N, 224, 224, 3) to (N, 1000)."""
    data = keras.Input((224, 224, 3), name="data")
    x = layers.MaxPooling2D(3, 2, "same")(layers.ReLU()(convolution(data, 64, 7, 2)))
    for stage, width in enumerate((64, 128, 256, 512)):
        for each in range(2):
            stride = 2 if stage and not each else 1
            y = convolution(layers.ReLU()(convolution(x, width, 3, stride)), width, 3, 1)
            x = layers.ReLU()(layers.Add()([y, convolution(x, width, 1, stride) if stride > 1 else x]))
    return keras.Model(data, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def tiny():
    """Return a network of three layers: (N, 32, 32, 3) to (N, 10)."""
    data = keras.Input((32, 32, 3), name="data")
    x = layers.AveragePooling2D(4)(layers.Conv2D(8, 3, 2, "same", activation="relu")(data))
    return keras.Model(data, layers.Dense(10)(layers.Flatten()(x)))


def main():
    """Write the folder."""
    folder, name = sys.argv[1:]
    keras.utils.set_random_seed(3)
    {"tiny": tiny, "resnet18": resnet18}[name]().export(str(Path(folder, "model.savedmodel")), verbose=False)


if __name__ == "__main__":
    main()
