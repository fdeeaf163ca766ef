"""A classifier with its preprocessing inside the graph: what goes in is the picture as it was decoded.

The resizing is OpenCV's bilinear one for bytes, rounding included, so that the scores are those of a client that prepares its pictures
with OpenCV. Only the pixels that the centre crop needs are read; the picture is never resized as a whole.
"""

import paddle
from paddle import nn

from hubserve.vision.normalize import IMAGENET_MEAN, IMAGENET_STD

# OpenCV works in whole numbers: it keeps the weights of neighbours as multiples of 1/2048, cuts the sum of a row's two to multiples of
# 1/128 and, after the weights of the rows, each share to a quarter before the result is rounded (modules/imgproc/src/resize.cpp).
_WEIGHT_ONE = 2048
_ROW_CUT = 16
_SHARE_CUT = 65536
_QUARTERS = 4


class FusedPreprocess(nn.Layer):
    """Resize the short side, crop the centre, normalise, put channels first, classify.

    Args:
        classifier: takes float32 (N, 3, crop_px, crop_px), RGB, normalised.
        crop_px: height and width of the crop.
        short_side_px: length of the short side after resizing; at least ``crop_px``.
    """

    def __init__(self, classifier: nn.Layer, crop_px: int, short_side_px: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.crop_px = crop_px
        self.short_side_px = short_side_px
        # for bytes from 0 to 255, and a dimension of channels that comes first
        self.register_buffer("mean", paddle.to_tensor([255 * each for each in IMAGENET_MEAN]).reshape([3, 1, 1]), persistable=True)
        self.register_buffer("scale", paddle.to_tensor([1 / (255 * each) for each in IMAGENET_STD]).reshape([3, 1, 1]), persistable=True)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Classify.

        Args:
            image: uint8 (N, H, W, 3), BGR, of any size.

        Returns:
            What the classifier returns.
        """
        pixels = self.resize_and_crop(image)
        rgb = paddle.gather(pixels, paddle.to_tensor([2, 1, 0]), axis=3).transpose([0, 3, 1, 2])
        return self.classifier((rgb - self.mean) * self.scale)

    def resize_and_crop(self, image: paddle.Tensor) -> paddle.Tensor:
        """Map uint8 (N, H, W, 3) of any size to float32 (N, crop_px, crop_px, 3), whole numbers from 0 to 255."""
        height, width = _length(image[0, :, 0, 0]), _length(image[0, 0, :, 0])
        short = _smaller(height, width)
        top, bottom, down = self._neighbours(height, short)
        left, right, across = self._neighbours(width, short)
        down = down.reshape([-1, 1, 1])
        upper = self._blend_columns(paddle.gather(image, top, axis=1), left, right, across)
        lower = self._blend_columns(paddle.gather(image, bottom, axis=1), left, right, across)
        share_cut, one = _constant(_SHARE_CUT, "int32"), _constant(_WEIGHT_ONE, "int32")
        quarters = upper * (one - down) // share_cut + lower * down // share_cut
        return ((quarters + _constant(_QUARTERS // 2, "int32")) // _constant(_QUARTERS, "int32")).astype("float32")

    def _neighbours(self, length: paddle.Tensor, short: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Return, for each pixel of the crop along one side, the two source pixels that it lies between, and the second one's weight."""
        one, two = _constant(1), _constant(2)
        resized = _divide_half_to_even(length * _constant(self.short_side_px), short)
        places = paddle.arange(self.crop_px, dtype="int64") + (resized - _constant(self.crop_px)) // two
        # the centre of a resized pixel in the source, less half a source pixel, in units of 1 / (2 * resized)
        unit = resized + resized
        centre = (places + places + one) * length - resized
        centre = paddle.where(centre > 0, centre, centre - centre)
        first = centre // unit
        weight = _divide_half_to_even((centre - first * unit) * _constant(_WEIGHT_ONE), unit)
        last = length - one
        return _smaller(first, last), _smaller(first + one, last), weight.astype("int32")

    @staticmethod
    def _blend_columns(rows: paddle.Tensor, left: paddle.Tensor, right: paddle.Tensor, across: paddle.Tensor) -> paddle.Tensor:
        weight = across.reshape([-1, 1])
        first = paddle.gather(rows, left, axis=2).astype("int32")
        second = paddle.gather(rows, right, axis=2).astype("int32")
        return (first * (_constant(_WEIGHT_ONE, "int32") - weight) + second * weight) // _constant(_ROW_CUT, "int32")


def _length(line: paddle.Tensor) -> paddle.Tensor:
    return paddle.shape(line.astype("int32")).astype("int64")  # the old format's shape operator does not take bytes


def _smaller(left: paddle.Tensor, right: paddle.Tensor) -> paddle.Tensor:
    return paddle.where(left < right, left, right)  # paddle.minimum cannot be written in the old format


def _constant(value: int, dtype: str = "int64") -> paddle.Tensor:
    # Arithmetic with a plain Python number, and clip, become operators that Paddle merges into the one before them for oneDNN;
    # on whole numbers the merged operator gives wrong results without a word (Paddle 3.3.1).
    return paddle.full([1], value, dtype)


def _divide_half_to_even(dividend: paddle.Tensor, divisor: paddle.Tensor) -> paddle.Tensor:
    """Divide whole numbers from 0 up and round as Python's ``round`` does, so that the resized picture has the same length as outside."""
    twice, unit = dividend + dividend + divisor, divisor + divisor
    up = twice // unit
    is_half = (twice - up * unit == 0).astype("int64")
    return up - is_half * (up % _constant(2))
