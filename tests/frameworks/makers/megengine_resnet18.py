"""Dump a resnet18 with random weights as ``model.mge``: ``data`` (1, 3, 224, 224) to 1000 scores."""

import sys
from pathlib import Path

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import jit


class Block(M.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = M.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = M.BatchNorm2d(channels)
        self.conv2 = M.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = M.BatchNorm2d(channels)
        same = before == channels and stride == 1
        self.shortcut = M.Identity() if same else M.Sequential(M.Conv2d(before, channels, 1, stride, bias=False), M.BatchNorm2d(channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet18(M.Module):
    """The network of 18 layers for pictures of 224 x 224."""

    def __init__(self):
        super().__init__()
        self.conv1 = M.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = M.BatchNorm2d(64)
        self.pool = M.MaxPool2d(3, 2, 1)
        widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = M.Sequential(*[Block(*each) for each in widths])
        self.fc = M.Linear(512, 1000)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.avg_pool2d(self.blocks(x), 7).reshape(-1, 512))


def main():
    """Write the file."""
    mge.random.seed(3)
    model = ResNet18()
    model.eval()

    @jit.trace(symbolic=True, capture_as_const=True)
    def compute(data):
        return model(data)

    compute(mge.Tensor(np.random.RandomState(3).rand(1, 3, 224, 224).astype(np.float32)))
    compute.dump(
        str(Path(sys.argv[1]) / "model.mge"),
        arg_names=["data"],
        output_names=["scores"],
        optimize_for_inference=True,
        enable_fuse_conv_bias_nonlinearity=True,
    )


if __name__ == "__main__":
    main()
