"""Dump a network of MegEngine to a ``.mge`` file, as MegFlow's guide does: plain, or with the preprocessing inside.

Run it with a Python that has MegEngine, such as that of the environment ``megengine``::

    python tools/dump_megengine.py -a resnet18 -s 1 3 224 224              # float32 (N, 3, 224, 224), normalised BGR
    python tools/dump_megengine.py -a resnet18 -s 1 224 224 3 -o raw.mge   # uint8 (N, H, W, 3), BGR pictures of any size

The shape chooses: channels last means that the file takes pictures as they were decoded, and resizes and normalises them itself.
Weights are random unless a file has them.
"""

import argparse
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, NamedTuple, Sequence

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import jit

#: of pictures in BGR with values from 0 to 255
MEAN_BGR = (103.530, 116.280, 123.675)
STD_BGR = (57.375, 57.120, 58.395)
_CLASSES = 1000
_TINY_CLASSES = 10


class BasicBlock(M.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = M.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = M.BatchNorm2d(channels)
        self.conv2 = M.Conv2d(channels, channels, 3, 1, padding=1, bias=False)
        self.bn2 = M.BatchNorm2d(channels)
        self.downsample = M.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = M.Sequential(M.Conv2d(channels_in, channels, 1, stride, bias=False), M.BatchNorm2d(channels))

    def forward(self, x: mge.Tensor) -> mge.Tensor:
        """Return the block's activations."""
        inside = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inside)) + self.downsample(x))


class ResNet18(M.Module):
    """ResNet-18 (https://arxiv.org/abs/1512.03385), with the parameters' usual names: float32 (N, 3, H, W) -> (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = M.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = M.BatchNorm2d(64)
        self.maxpool = M.MaxPool2d(3, 2, padding=1)
        self.layer1 = M.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = M.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = M.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = M.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = M.Linear(512, _CLASSES)

    def forward(self, x: mge.Tensor) -> mge.Tensor:
        """Return the scores of the classes, before a softmax."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.mean(x, axis=(2, 3)))


class Tiny(M.Module):
    """The smallest classifier, for tests: float32 (N, 3, H, W) -> (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = M.Conv2d(3, 8, 3, 2, padding=1)
        self.fc = M.Linear(8, _TINY_CLASSES)

    def forward(self, x: mge.Tensor) -> mge.Tensor:
        """Return the scores of the classes."""
        return self.fc(F.mean(F.relu(self.conv(x)), axis=(2, 3)))


class Architecture(NamedTuple):
    """One network.

    Attributes:
        make: constructs it, with random weights.
        side_px: height and width that pictures are resized to where the preprocessing is inside.
    """

    make: Callable[[], M.Module]
    side_px: int


ARCHITECTURES = {"resnet18": Architecture(ResNet18, 224), "tiny": Architecture(Tiny, 32)}


def prepare(data: mge.Tensor, side_px: int) -> mge.Tensor:
    """Resize and normalise pictures: uint8 (N, H, W, 3), BGR -> float32 (N, 3, side_px, side_px).

    The matrix of the resizing is computed from the shape of what comes in, inside the graph, so that pictures of any size fit into the
    result as a whole; with a constant matrix, such as the identity, the graph would cut out a corner of each.
    """
    per_width = np.array([[1, 0, 0.5], [0, 0, 0], [0, 0, 0]], np.float32) / side_px
    per_height = np.array([[0, 0, 0], [0, 1, 0.5], [0, 0, 0]], np.float32) / side_px
    rest = np.array([[0, 0, -0.5], [0, 0, -0.5], [0, 0, 1]], np.float32)
    height, width = data.shape[1].astype("float32"), data.shape[2].astype("float32")
    # from a pixel of the result to one of the picture, from centre to centre, as OpenCV's bilinear resizing does
    matrix = mge.tensor(per_width) * width + mge.tensor(per_height) * height + mge.tensor(rest)
    matrix = F.broadcast_to(matrix, F.concat([data.shape[0], matrix.shape]))
    resized = F.vision.warp_perspective(data.astype("float32"), matrix, (side_px, side_px), format="NHWC")
    normalised = (resized - mge.tensor(np.array(MEAN_BGR, np.float32))) / mge.tensor(np.array(STD_BGR, np.float32))
    return F.transpose(normalised, (0, 3, 1, 2))


def dump(network: M.Module, shape: Sequence[int], side_px: int, path: Path) -> None:
    """Trace a network with an input of a shape, and write its file.

    Args:
        network: takes float32 (N, 3, H, W).
        shape: (N, 3, H, W), or (N, H, W, 3) for the preprocessing inside.
        side_px: what pictures are resized to.
        path: of the file.
    """
    has_pictures = shape[-1] == 3 and shape[1] != 3
    network.eval()

    @jit.trace(capture_as_const=True)
    def classify(data: mge.Tensor) -> mge.Tensor:
        return network(prepare(data, side_px) if has_pictures else data)

    sample = np.random.default_rng(0).random(shape)
    classify(mge.tensor((sample * 255).astype(np.uint8) if has_pictures else sample.astype(np.float32)))
    classify.dump(
        str(path),
        arg_names=["data"],
        optimize_for_inference=True,
        enable_fuse_conv_bias_nonlinearity=True,
    )


class _Arrays(pickle.Unpickler):
    """Unpickler of dictionaries of arrays, which refuses all names but those that such files are made of."""

    _NAMES: ClassVar = {
        ("collections", "OrderedDict"): OrderedDict,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
        ("numpy.core.multiarray", "scalar"): np.core.multiarray.scalar,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed names; raise UnpicklingError for any other."""
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, and only a dictionary of arrays is read")
        return self._NAMES[module, name]


def read_weights(path: Path) -> Dict[str, np.ndarray]:
    """Read parameters by name from a ``.npz`` file, or from what ``megengine.save(network.state_dict(), ...)`` wrote."""
    if path.suffix == ".npz":
        with np.load(str(path), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    with path.open("rb") as file:
        read = _Arrays(file).load()
    return dict(read.get("state_dict", read))


def set_weights(network: M.Module, weights: Dict[str, np.ndarray]) -> None:
    """Set all parameters of a network; arrays may lack dimensions of length 1, as those of other frameworks do.

    Raises:
        ValueError: a parameter is missing, or has another number of elements.
    """
    own = network.state_dict()
    for name, array in own.items():
        if name not in weights or np.size(weights[name]) != np.size(array):
            raise ValueError(f"the weights lack '{name}' of shape {list(np.shape(array))}")
    network.load_state_dict({name: np.asarray(weights[name], array.dtype).reshape(array.shape) for name, array in own.items()})


def main(argv: List[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-a", "--arch", choices=sorted(ARCHITECTURES), default="resnet18", help="the network (default: %(default)s)")
    parser.add_argument(
        "-s", "--shape", type=int, nargs=4, metavar="N", default=[1, 3, 224, 224],
        help="what it is traced with: N 3 H W, or N H W 3 for the preprocessing inside (default: 1 3 224 224)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=Path("model.mge"), help="the file to write (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="a .npz file, or one of megengine.save, with the parameters (default: random)")
    parser.add_argument("--seed", type=int, default=0, help="of random weights (default: %(default)s)")
    args = parser.parse_args(argv)
    if 3 not in (args.shape[1], args.shape[-1]) or min(args.shape) < 1:
        parser.error(f"the shape must be N 3 H W or N H W 3, got {' '.join(map(str, args.shape))}")
    architecture = ARCHITECTURES[args.arch]
    mge.random.seed(args.seed)
    network = architecture.make()
    if args.weights:
        try:
            set_weights(network, read_weights(args.weights))
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            parser.error(f"cannot use '{args.weights}': {error}")
    dump(network, args.shape, architecture.side_px, args.output)
    print(f"wrote {args.output}: {args.arch}, {args.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
