"""``paddlehub.vision.transforms``: prepare pictures for a model. Each transform takes and returns a (H, W, C) array."""

from typing import Any, Callable, List, Sequence, Union

import numpy as np
from paddlehub._training import placeholder
from paddlehub.vision import checks, functional
from paddlehub.vision.color import LAB2RGB, RGB2LAB

__all__ = [
    "LAB2RGB",
    "RGB2LAB",
    "CenterCrop",
    "Compose",
    "Normalize",
    "Padding",
    "Permute",
    "Resize",
    "ResizeByLong",
]

_RANDOM = (
    *("RandomBlur", "RandomDistort", "RandomHorizontalFlip", "RandomPaddingCrop", "RandomRotation", "RandomVerticalFlip"),
    *("ResizeRangeScaling", "ResizeStepScaling"),
)


def __getattr__(name: str) -> Any:
    """Return a placeholder for a random transform, which only training uses."""
    if name in _RANDOM:
        return placeholder(__name__, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


class Compose:
    """Sequence of transforms.

    Args:
        transforms: a list of transforms.
        to_rgb: exchange red and blue first; pictures are BGR.
        channel_first: (H, W, C) -> (C, H, W) at the end.
    """

    def __init__(self, transforms: List[Callable[[np.ndarray], np.ndarray]], to_rgb: bool = False, channel_first: bool = True) -> None:
        checks.check_steps(transforms)
        self.transforms, self.to_rgb, self.channel_first = transforms, to_rgb, channel_first

    def __call__(self, im: Union[str, np.ndarray]) -> np.ndarray:
        """Transform a BGR picture, or the path of one."""
        picture = checks.read_picture(im, self.to_rgb)
        for transform in self.transforms:
            picture = transform(picture)
        return functional.permute(picture) if self.channel_first else picture


class Permute:
    """Transposition from (H, W, C) to (C, H, W)."""

    def __call__(self, im: np.ndarray) -> np.ndarray:
        """Transpose a picture."""
        return functional.permute(im)


class Resize:
    """Resizing to a square of one length, or to (width, height)."""

    interpolation_dict = functional.INTERPOLATION

    def __init__(self, target_size: functional.Size, interpolation: str = "LINEAR") -> None:
        checks.check_interpolation(interpolation, self.interpolation_dict)
        checks.check_size(target_size, also_one_length=True)
        self.target_size, self.interpolation = target_size, interpolation

    def __call__(self, im: np.ndarray) -> np.ndarray:
        """Resize a picture."""
        return functional.resize(im, self.target_size, self.interpolation_dict[self.interpolation])


class ResizeByLong:
    """Resizing of the longer side to a length."""

    def __init__(self, long_size: int) -> None:
        self.long_size = long_size

    def __call__(self, im: np.ndarray) -> np.ndarray:
        """Resize a picture."""
        return functional.resize_long(im, self.long_size)


class Normalize:
    """``(im / 255 - mean) / std``, for each channel; the channels come last, or first if ``channel_first``."""

    def __init__(
        self, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5), channel_first: bool = False
    ) -> None:
        checks.check_mean_and_std(mean, std)
        self.mean, self.std, self.channel_first = mean, std, channel_first

    def __call__(self, im: np.ndarray) -> np.ndarray:
        """Normalize a picture."""
        shape = (-1, 1, 1) if self.channel_first else (1, 1, -1)
        return functional.normalize(im, np.array(self.mean).reshape(shape), np.array(self.std).reshape(shape))


class Padding:
    """Padding at the bottom and the right, up to a square of one length or (width, height)."""

    def __init__(self, target_size: functional.Size, im_padding_value: Sequence[float] = (127.5, 127.5, 127.5)) -> None:
        checks.check_size(target_size, also_one_length=True)
        self.target_size, self.im_padding_value = target_size, im_padding_value

    def __call__(self, im: np.ndarray) -> np.ndarray:
        """Pad a picture."""
        return checks.pad_to(im, self.target_size, self.im_padding_value)


class CenterCrop:
    """Crop of the square in the centre."""

    def __init__(self, crop_size: int) -> None:
        self.crop_size = crop_size

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Crop a picture."""
        top, left = (int((length - self.crop_size) / 2.0) for length in img.shape[:2])
        return img[top : top + self.crop_size, left : left + self.crop_size, :]
