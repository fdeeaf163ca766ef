"""Dump a network with random weights as ``model.mge``: ``data`` to ``scores``. Arguments: FOLDER tiny|resnet18."""

import sys
from pathlib import Path

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import jit

SIDES_PX = {"tiny": 32, "resnet18": 224}


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


class Tiny(M.Module):
    """A network of three layers."""

    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(3, 8, 3, 2, 1)
        self.pool = M.AvgPool2d(4)
        self.fc = M.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.pool(F.relu(self.conv(x))).reshape(-1, 128))


def main():
    """Write the file."""
    folder, name = sys.argv[1:]
    mge.random.seed(3)
    model = {"tiny": Tiny, "resnet18": ResNet18}[name]()
    for each in model.modules():
        if isinstance(each, M.Conv2d):
            M.init.msra_normal_(each.weight, mode="fan_out", nonlinearity="relu")
    model.eval()

    @jit.trace(symbolic=True, capture_as_const=True)
    def compute(data):
        return model(data)

    compute(mge.Tensor(np.random.RandomState(3).rand(1, 3, SIDES_PX[name], SIDES_PX[name]).astype(np.float32)))
    compute.dump(
        str(Path(folder) / "model.mge"),
        arg_names=["data"],
        output_names=["scores"],
        optimize_for_inference=True,
        enable_fuse_conv_bias_nonlinearity=True,
    )


if __name__ == "__main__":
    main()
