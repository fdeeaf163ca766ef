"""Prepare a decoded picture as a classifier's input, in one step."""

from typing import Any, Sequence

import numpy as np

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalization
from hubserve.vision.opencv import opencv
from hubserve.vision.operators import CropImage, ResizeImage, check_image, positive


class ClassificationPreprocess:
    """BGR to RGB, resize the short side, crop the centre, normalise, channels first: PaddleClas's preprocessing for classifiers.

    The results are those of the single operators, bit for bit. It is faster because the channels are put in order where they are
    split anyway, and are normalised by table straight into the result.

    Args:
        resize_short: length of the short side after scaling (bilinear), in pixels.
        crop_size: width and height of the result, in pixels.
        normalize: ``(x * scale - mean) / std`` in float32; without it the result stays uint8.
        to_chw: (3, crop_size, crop_size); without it (crop_size, crop_size, 3).
        mean: per channel, RGB.
        std: as ``mean``.
        scale: a number, or text such as ``"1.0/255.0"``; 1/255 by default.

    Raises:
        ConfigError: a value cannot be used, or the crop is larger than the short side.
    """

    def __init__(
        self,
        resize_short: int = 256,
        crop_size: int = 224,
        normalize: bool = True,
        to_chw: bool = True,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        scale: Any = None,
    ) -> None:
        positive("ClassificationPreprocess", "resize_short", resize_short)
        positive("ClassificationPreprocess", "crop_size", crop_size)
        if crop_size > resize_short:
            raise ConfigError(f"crop_size {crop_size} is larger than resize_short {resize_short}: no picture would be large enough")
        self._resize = ResizeImage(resize_short=resize_short)
        self._crop = CropImage(crop_size)
        self._normalization = Normalization(scale, mean, std) if normalize else None
        self._to_chw = to_chw

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Prepare one picture.

        Args:
            picture: uint8 (H, W, 3), BGR, as :func:`~hubserve.vision.codecs.decode_picture` gives it.

        Returns:
            RGB, contiguous: float32, or uint8 without ``normalize``; (3, crop_size, crop_size), or (crop_size, crop_size, 3) without
            ``to_chw``.

        Raises:
            InvalidInput: the array is not such a picture, or too long and thin.
        """
        if check_image(picture).dtype != np.uint8 or picture.shape[2] != 3:
            raise InvalidInput(f"a picture is uint8 (H, W, 3) BGR, got {picture.dtype.name} {list(picture.shape)}")
        cropped = self._crop(self._resize(picture))
        cv2 = opencv()
        if self._to_chw:
            if self._normalization is None:
                return np.ascontiguousarray(cropped[:, :, ::-1].transpose(2, 0, 1))
            blue, green, red = cv2.split(cropped)
            return self._normalization.planes((red, green, blue))
        rgb = np.asarray(cv2.cvtColor(cropped, cv2.COLOR_BGR2RGB))
        return rgb if self._normalization is None else self._normalization.pixels(rgb)
