"""EfficientNet-Lite0 as a Paddle layer.

Source: Tan and Le, "EfficientNet" (arXiv 1905.11946), in its Lite form: no squeeze-and-excitation, and ReLU6 for swish. The published
weights were trained with TensorFlow's SAME padding, which at stride 2 pads one side more than the other.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from hubserve.errors import LoadFailed

CLASSES = 1000
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """A run of equal blocks; only the first one has the stride."""

    repeats: int
    kernel_px: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def same_padding(size_px: int, kernel_px: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after, as TensorFlow's SAME, so that the output is ``ceil(size_px / stride)`` long."""
    total = max((-(-size_px // stride) - 1) * stride + kernel_px - size_px, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Layer):
    """A convolution with SAME padding for images of one size, and batch normalisation."""

    def __init__(self, size_px: int, channels_in: int, channels_out: int, kernel_px: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before, after = same_padding(size_px, kernel_px, stride)
        padding = [before, after, before, after]  # top, bottom, left, right
        self.conv = nn.Conv2D(channels_in, channels_out, kernel_px, stride, padding, groups=groups, bias_attr=False)
        self.norm = nn.BatchNorm2D(channels_out, epsilon=_NORM_EPSILON)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map float32 (N, channels_in, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride))."""
        return self.norm(self.conv(x))


class Block(nn.Layer):
    """Expand the channels, convolve each one, project; added to its input where the two have the same shape."""

    def __init__(self, size_px: int, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = channels_in * stage.expansion
        self.expand = ConvNorm(size_px, channels_in, wide) if stage.expansion > 1 else None
        self.depthwise = ConvNorm(size_px, wide, wide, stage.kernel_px, stride, groups=wide)
        self.project = ConvNorm(-(-size_px // stride), wide, stage.channels)
        self.adds = stride == 1 and channels_in == stage.channels
        self.activate = nn.ReLU6()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map float32 (N, C, H, W) to (N, stage.channels, ceil(H / stride), ceil(W / stride))."""
        inner = x if self.expand is None else self.activate(self.expand(x))
        inner = self.project(self.activate(self.depthwise(inner)))
        return x + inner if self.adds else inner


class EfficientNetLite0(nn.Layer):
    """Classifier of pictures that returns the probabilities of ImageNet's 1000 classes.

    Args:
        image_size_px: height and width of the pictures; the padding depends on it.
    """

    def __init__(self, image_size_px: int = 224) -> None:
        super().__init__()
        self.image_size_px = image_size_px
        self.stem = ConvNorm(image_size_px, 3, _STEM_CHANNELS, 3, 2)
        size_px, channels, blocks = -(-image_size_px // 2), _STEM_CHANNELS, []
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(Block(size_px, channels, stage, stride))
                size_px, channels = -(-size_px // stride), stage.channels
        self.blocks = nn.LayerList(blocks)
        self.head = ConvNorm(size_px, channels, _HEAD_CHANNELS)
        self.classifier = nn.Linear(_HEAD_CHANNELS, CLASSES)
        self.activate = nn.ReLU6()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Classify.

        Args:
            x: float32 (N, 3, image_size_px, image_size_px), RGB, normalised with ImageNet's mean and standard deviation.

        Returns:
            float32 (N, 1000), each row adding up to 1.
        """
        x = self.activate(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = self.activate(self.head(x))
        return nn.functional.softmax(self.classifier(x.mean(axis=[2, 3])))


_FIRST_STEPS = {"_expand_conv": "expand.conv", "_bn0": "expand.norm"}
_LATER_STEPS = {"_depthwise_conv": "depthwise.conv", "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}
_STEPS = {**_FIRST_STEPS, **_LATER_STEPS}
_ENDS = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm", "_fc": "classifier"}
_LEAVES = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
_PUBLISHED = re.compile(r"(?:(_blocks\.\d+)\.)?(\w+)\.(weight|bias|running_mean|running_var)")


def load_published(network: EfficientNetLite0, arrays: Mapping[str, np.ndarray]) -> None:
    """Give the network the published weights.

    Args:
        network: changed in place.
        arrays: the published file's names -> arrays.

    Raises:
        LoadFailed: a weight is missing, unknown or of another shape.
    """
    ours = {_our_name(name): array for name, array in arrays.items() if not name.endswith(".num_batches_tracked")}
    if "classifier.weight" in ours:  # PyTorch keeps (out, in), Paddle (in, out)
        ours["classifier.weight"] = np.ascontiguousarray(ours["classifier.weight"].T)
    own = network.state_dict()
    if set(own) != set(ours):
        missing, unknown = sorted(set(own) - set(ours)), sorted(set(ours) - set(own))
        raise LoadFailed(f"these are not the weights of EfficientNet-Lite0: missing are {missing[:3]}, unknown are {unknown[:3]}")
    for name, parameter in own.items():
        if list(parameter.shape) != list(ours[name].shape):
            raise LoadFailed(f"weight '{name}' must have shape {list(parameter.shape)}, got {list(ours[name].shape)}")
    network.set_state_dict(ours)


def _our_name(published: str) -> str:
    match = _PUBLISHED.fullmatch(published)
    if match is None:
        return published
    block, layer, leaf = match.groups()
    named = (_STEPS if block else _ENDS).get(layer, layer)
    return ".".join(([block[1:]] if block else []) + [named, _LEAVES[leaf]])
