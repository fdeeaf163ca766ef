"""``paddlehub.vision.utils``: find picture files, colour masks, and resize predictions to a picture's own size."""

import json
import os
from typing import Any, Callable, List, Sequence, Tuple, Union

import numpy as np
from paddlehub._training import placeholder
from paddlehub.vision.checks import read_bgr
from paddlehub.vision.functional import check_dir

__all__ = [
    "check_dir",
    "get_color_map_list",
    "get_img_file",
    "get_label_infos",
    "get_pseudo_color_map",
    "get_reverse_list",
    "gram_matrix",
    "is_image_file",
    "npmax",
    "reverse_transform",
    "subtract_imagenet_mean_batch",
    "visualize",
]

_EXTENSIONS = (".bmp", ".dib", ".png", ".jpg", ".jpeg", ".pbm", ".pgm", ".ppm", ".tif", ".tiff")


def __getattr__(name: str) -> Any:
    """Return a placeholder for a name of training and evaluation."""
    if name in ("ConfusionMatrix", "box_crop", "box_iou_xywh", "draw_boxes_on_image"):
        return placeholder(__name__, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def is_image_file(filename: str) -> bool:
    """Return True for the file name of a picture."""
    return os.path.splitext(filename)[-1].lower() in _EXTENSIONS


def get_img_file(dir_name: str) -> List[str]:
    """Return the paths of all pictures in a folder and its subfolders."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(dir_name) for name in names if is_image_file(name)]


def get_label_infos(file_list: str) -> List[str]:
    """Return the names of the categories in a COCO annotation file, ordered by their numbers."""
    with open(file_list, encoding="utf-8") as file:
        categories = json.load(file)["categories"]
    return [each["name"] for each in sorted(categories, key=lambda each: each["id"])]


def npmax(array: np.ndarray) -> Tuple[int, int]:
    """Return row and column of a matrix's largest value."""
    row, column = np.unravel_index(int(np.argmax(array)), array.shape)
    return int(row), int(column)


def get_color_map_list(num_classes: int) -> List[int]:
    """Return the palette of Pascal VOC without its first colour, black: three numbers per class.

    The bits of a class's number go to red, green and blue in turn, the highest bit of each colour first.
    """
    palette: List[int] = []
    for number in range(1, num_classes + 1):
        color, rest, bit = [0, 0, 0], number, 7
        while rest:
            for channel in range(3):
                color[channel] |= (rest >> channel & 1) << bit
            rest, bit = rest >> 3, bit - 1
        palette += color
    return palette


def visualize(image: Union[str, np.ndarray], result: np.ndarray, weight: float = 0.6) -> np.ndarray:
    """Return a picture overlaid with its mask's colours.

    Args:
        image: uint8 (H, W, 3) BGR, or its path.
        result: uint8 (H, W), the class of each pixel.
        weight: of the picture; the colours get the rest.
    """
    import cv2

    colors = np.array(get_color_map_list(256), np.uint8).reshape(256, 3)[result]
    return np.asarray(cv2.addWeighted(read_bgr(image), weight, colors, 1 - weight, 0))


def get_pseudo_color_map(pred: np.ndarray) -> Any:
    """Convert a mask to a Pillow image with a palette."""
    from PIL import Image

    mask = Image.fromarray(pred.astype(np.uint8)).convert("P")
    mask.putpalette(get_color_map_list(256))
    return mask


def get_reverse_list(ori_shape: Sequence[int], transforms: Sequence[Callable[..., Any]]) -> List[Tuple[str, Tuple[int, int]]]:
    """Return the size before each transform that changes it, as ``("resize", (height, width))`` or ``("padding", (height, width))``."""
    steps: List[Tuple[str, Tuple[int, int]]] = []
    height, width = ori_shape[0], ori_shape[1]
    for transform in transforms:
        name = type(transform).__name__
        if name not in ("Resize", "ResizeByLong", "Padding"):
            continue
        steps.append(("padding" if name == "Padding" else "resize", (height, width)))
        if name == "ResizeByLong":
            scale = transform.long_size / max(height, width)
            height, width = round(height * scale), round(width * scale)
        else:
            size: Any = transform.target_size
            width, height = (size, size) if isinstance(size, int) else size
    return steps


def reverse_transform(pred: Any, ori_shape: Sequence[int], transforms: Sequence[Callable[..., Any]]) -> Any:
    """Resize a prediction to its picture's size.

    Args:
        pred: a Paddle tensor (N, C, h, w).
        ori_shape: the picture's height and width.
        transforms: those that were applied to the picture.
    """
    import paddle.nn.functional

    for step, (height, width) in reversed(get_reverse_list(ori_shape, transforms)):
        if step == "padding":
            pred = pred[:, :, :height, :width]
        else:
            dtype = pred.dtype  # not every version interpolates whole numbers
            pred = paddle.nn.functional.interpolate(pred.astype("float32"), (height, width), mode="nearest").astype(dtype)
    return pred


def subtract_imagenet_mean_batch(batch: Any) -> Any:
    """Subtract ImageNet's mean BGR colour from a Paddle tensor (N, 3, H, W)."""
    import paddle

    return batch - paddle.to_tensor(np.array([103.939, 116.779, 123.680], np.float32).reshape(1, 3, 1, 1))


def gram_matrix(data: Any) -> Any:
    """Compute the correlation of the channels of a Paddle tensor (N, C, H, W), as (N, C, C)."""
    batch, channels, height, width = data.shape
    features = data.reshape((batch, channels, width * height))
    return features.bmm(features.transpose((0, 2, 1))) / (channels * height * width)
