"""``paddlehub.vision.segmentation_transforms``: transforms of pictures with a mask; each returns ``(im,)`` or ``(im, label)``."""

import os
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import numpy as np
from paddlehub.vision import checks, functional
from paddlehub.vision.utils import get_color_map_list, visualize

Mask = Optional[np.ndarray]


def _both(im: np.ndarray, label: Mask) -> Tuple[Any, ...]:
    return (im,) if label is None else (im, label)


class Compose:
    """Sequence of transforms, followed by (H, W, C) -> (C, H, W).

    Args:
        transforms: a list of transforms.
        to_rgb: exchange red and blue first; pictures are BGR.
    """

    def __init__(self, transforms: List[Callable[..., Tuple[Any, ...]]], to_rgb: bool = True) -> None:
        checks.check_steps(transforms)
        self.transforms, self.to_rgb = transforms, to_rgb

    def __call__(self, im: Union[str, np.ndarray], label: Union[str, Mask] = None) -> Tuple[np.ndarray, Mask]:
        """Transform a BGR picture, or the path of one, and its mask, if any."""
        if isinstance(label, str):
            from PIL import Image

            label = np.asarray(Image.open(label))
        im = checks.read_picture(im, self.to_rgb)
        for transform in self.transforms:
            done = transform(im, label)
            im, label = done[0], done[1] if len(done) == 2 else label
        return functional.permute(im), label


class Resize:
    """Resizing to (width, height); a mask keeps its values."""

    interp_dict = functional.INTERPOLATION

    def __init__(self, target_size: Sequence[int] = (512, 512), interp: str = "LINEAR") -> None:
        checks.check_interpolation(interp, self.interp_dict)
        checks.check_size(target_size, also_one_length=False)
        self.target_size, self.interp = target_size, interp

    def __call__(self, im: np.ndarray, label: Mask = None) -> Tuple[Any, ...]:
        """Resize a picture and its mask."""
        if not isinstance(im, np.ndarray):
            raise TypeError(f"a picture is a numpy array, got {type(im).__name__}")
        if im.ndim != 3:
            raise ValueError(f"a picture has the shape (H, W, C), got {im.shape}")
        mask = None if label is None else functional.resize(label, self.target_size, functional.INTERPOLATION["NEAREST"])
        return _both(functional.resize(im, self.target_size, self.interp_dict[self.interp]), mask)


class Normalize:
    """``(im / 255 - mean) / std``, for each channel."""

    def __init__(self, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)) -> None:
        checks.check_mean_and_std(mean, std)
        self.mean, self.std = mean, std

    def __call__(self, im: np.ndarray, label: Mask = None) -> Tuple[Any, ...]:
        """Normalize a picture."""
        return _both(functional.normalize(im, np.array(self.mean), np.array(self.std)), label)


class Padding:
    """Padding at the bottom and the right, up to (width, height)."""

    def __init__(
        self, target_size: Sequence[int], im_padding_value: Sequence[float] = (128, 128, 128), label_padding_value: int = 255
    ) -> None:
        checks.check_size(target_size, also_one_length=False)
        self.target_size, self.im_padding_value, self.label_padding_value = target_size, im_padding_value, label_padding_value

    def __call__(self, im: np.ndarray, label: Mask = None) -> Tuple[Any, ...]:
        """Pad a picture and its mask."""
        mask = None if label is None else checks.pad_to(label, self.target_size, self.label_padding_value)
        return _both(checks.pad_to(im, self.target_size, self.im_padding_value), mask)


class ColorMap:
    """Colours of classes."""

    def __init__(self, num_classes: int = 256) -> None:
        self.num_classes = num_classes

    def __call__(self) -> List[List[int]]:
        """Return a list of three numbers per class."""
        flat = get_color_map_list(self.num_classes)
        return [flat[index : index + 3] for index in range(0, len(flat), 3)]


class SegmentVisual:
    """Overlay of a mask's colours on its picture, which has ``weight``."""

    def __init__(self, weight: float = 0.6) -> None:
        self.weight = weight

    def __call__(self, image: str, result: np.ndarray, save_dir: Optional[str] = None) -> np.ndarray:
        """Return the picture with its mask, uint8 (H, W, 3) BGR, and save it under the same name if a folder is given."""
        import cv2

        shown = visualize(image, result, self.weight)
        if save_dir is not None:
            os.makedirs(save_dir, exist_ok=True)
            cv2.imwrite(os.path.join(save_dir, os.path.basename(image)), shown)
        return shown
