"""The operators that PaddleClas's ``transform_ops`` lists name. Each is made once from its parameters and called with one image."""

import inspect
from difflib import get_close_matches
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision.codecs import decode_picture
from hubserve.vision.headers import MAX_PIXELS
from hubserve.vision.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalization
from hubserve.vision.opencv import opencv

#: PaddleClas's names -> OpenCV's.
INTERPOLATIONS = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "area": "INTER_AREA",
    "bicubic": "INTER_CUBIC",
    "lanczos": "INTER_LANCZOS4",
}
_ORDERS = ("", "hwc", "chw")

Size = Union[int, Sequence[int]]


class DecodeImage:
    """Encoded picture -> uint8 (H, W, 3), RGB unless ``to_rgb`` is false, or (3, H, W) with ``channel_first``."""

    def __init__(self, to_rgb: bool = True, channel_first: bool = False) -> None:
        self._after: List[Callable[[np.ndarray], np.ndarray]] = [ToRGB()] if to_rgb else []
        self._after += [ToCHWImage()] if channel_first else []

    def __call__(self, data: Any) -> np.ndarray:
        """Decode one picture; see :func:`~hubserve.vision.codecs.decode_picture` for its errors."""
        image = decode_picture(data)
        for operator in self._after:
            image = operator(image)
        return image


class ToRGB:
    """(H, W, 3) BGR -> the same in RGB."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Swap the first and the third channel into a new array."""
        if check_image(image).shape[2] != 3:
            raise InvalidInput(f"ToRGB needs 3 channels, got {list(image.shape)}")
        return np.ascontiguousarray(image[:, :, ::-1])


class ResizeImage:
    """Scale an image so that its short side is ``resize_short`` pixels, or to exactly ``size``.

    Args:
        resize_short: length of the short side, in pixels; the long side follows, rounded to a whole pixel.
        size: width and height, or one number for both; disregarded where ``resize_short`` is given.
        interpolation: one of :data:`INTERPOLATIONS`; bilinear by default.

    Raises:
        ConfigError: neither is given, or a value cannot be used.
    """

    def __init__(self, resize_short: Optional[int] = None, size: Optional[Size] = None, interpolation: Optional[str] = None) -> None:
        if resize_short is None and size is None:
            raise ConfigError("ResizeImage needs 'resize_short' or 'size', for example {'resize_short': 256}")
        self.resize_short = None if resize_short is None else positive("ResizeImage", "resize_short", resize_short)
        self.size = None if size is None else _width_height("ResizeImage", size)
        if interpolation is not None and interpolation not in INTERPOLATIONS:
            raise ConfigError(f"ResizeImage: unknown interpolation {interpolation!r}{nearest(interpolation, INTERPOLATIONS)}")
        self.interpolation = interpolation or "bilinear"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Scale (H, W, C) of uint8 or float32.

        Raises:
            InvalidInput: the array is not such an image, or so long and thin that the result would have more than ``MAX_PIXELS``.
        """
        height, width = check_image(image).shape[:2]
        if self.resize_short is not None:
            width, height = short_side_size(width, height, self.resize_short)
        elif self.size is not None:
            width, height = self.size
        cv2 = opencv()
        resized = cv2.resize(image, (width, height), interpolation=getattr(cv2, INTERPOLATIONS[self.interpolation]))
        return np.asarray(resized.reshape(height, width, image.shape[2]))  # OpenCV drops a single channel's dimension


class CropImage:
    """Cut ``size`` (one number, or width and height, in pixels) out of the centre of an (H, W, C) image; a view, not a copy."""

    def __init__(self, size: Size) -> None:
        self.width, self.height = _width_height("CropImage", size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Crop one image.

        Raises:
            InvalidInput: it is smaller than the crop.
        """
        height, width = check_image(image).shape[:2]
        if height < self.height or width < self.width:
            raise InvalidInput(
                f"cannot crop {self.width} x {self.height} out of an image of {width} x {height}: resize it to more, or crop less"
            )
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return image[top : top + self.height, left : left + self.width]


class NormalizeImage:
    """``(image * scale - mean) / std``, in float32.

    Args:
        scale: a number, or text such as ``"1.0/255.0"``; 1/255 by default.
        mean: one number per channel, after scaling; ImageNet's by default.
        std: as ``mean``.
        order: ``"chw"`` for (3, H, W); ``""`` or ``"hwc"`` for (H, W, 3).
        output_fp16: give float16.
        channel_num: 4 appends a channel of zeros.

    Raises:
        ConfigError: a value cannot be used.
    """

    def __init__(
        self,
        scale: Any = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        order: str = "",
        *,
        output_fp16: bool = False,
        channel_num: int = 3,
    ) -> None:
        if order not in _ORDERS:
            raise ConfigError(f"NormalizeImage: order must be 'chw', 'hwc' or '' (the same as 'hwc'), got {order!r}")
        if channel_num not in (3, 4):
            raise ConfigError(f"NormalizeImage: channel_num must be 3 or 4, got {channel_num!r}")
        self._normalization = Normalization(scale, mean, std)
        self._channel_axis = 0 if order == "chw" else 2
        self._dtype = np.float16 if output_fp16 else np.float32
        self._pads = channel_num == 4

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalise one image of any dtype; uint8 is the fastest."""
        if check_image(image).shape[self._channel_axis] != 3:
            raise InvalidInput(f"NormalizeImage needs 3 channels in dimension {self._channel_axis}, got {list(image.shape)}")
        normalized = self._normalization.planes(image) if self._channel_axis == 0 else self._normalization.pixels(image)
        if self._pads:
            width = [(0, 0), (0, 0), (0, 0)]
            width[self._channel_axis] = (0, 1)
            normalized = np.pad(normalized, width)
        return normalized.astype(self._dtype, copy=False)


class ToCHWImage:
    """(H, W, C) -> (C, H, W), contiguous."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Reorder into a new array."""
        return np.ascontiguousarray(check_image(image).transpose(2, 0, 1))


class Compose:
    """Operators one after the other."""

    def __init__(self, operators: Sequence[Callable[[Any], np.ndarray]]) -> None:
        self.operators = list(operators)

    def __call__(self, image: Any) -> Any:
        """Give each operator what the one before it returned."""
        for operator in self.operators:
            image = operator(image)
        return image


#: name in a list of operators -> class
OPERATORS: Dict[str, Any] = {cls.__name__: cls for cls in (DecodeImage, ToRGB, ResizeImage, CropImage, NormalizeImage, ToCHWImage)}


def create_operators(described: Any) -> Compose:
    """Make the operators of a ``transform_ops`` list.

    Args:
        described: such as ``[{"ResizeImage": {"resize_short": 256}}, {"ToCHWImage": None}]``.

    Raises:
        ConfigError: it is not such a list, or names an unknown operator or parameter; the nearest known is named.
    """
    if not isinstance(described, (list, tuple)):
        raise ConfigError(f"operators are a list such as [{{'ToCHWImage': None}}], got {type(described).__name__}")
    return Compose([_create(each, f"operator {number}") for number, each in enumerate(described, start=1)])


def _create(described: Any, where: str) -> Any:
    if not isinstance(described, dict) or len(described) != 1:
        raise ConfigError(
            f"{where} must be one name and its parameters, such as {{'CropImage': {{'size': 224}}}}, got {str(described)[:80]}"
        )
    ((name, parameters),) = described.items()
    if name not in OPERATORS:
        raise ConfigError(f"{where}: unknown operator {name!r}{nearest(name, OPERATORS)}")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise ConfigError(f"{where} ({name}): parameters must be an object or null, got {str(parameters)[:80]}")
    # A class without a constructor of its own would show object's, which claims to take anything.
    known = inspect.signature(OPERATORS[name].__init__).parameters if "__init__" in vars(OPERATORS[name]) else {}
    accepted = [parameter for parameter in known if parameter != "self"]
    for parameter in parameters:
        if parameter not in accepted:
            raise ConfigError(f"{where} ({name}): unknown parameter {parameter!r}{nearest(parameter, accepted)}")
    missing = [key for key in accepted if known[key].default is inspect.Parameter.empty and key not in parameters]
    if missing:
        raise ConfigError(f"{where} ({name}): parameter '{missing[0]}' is missing")
    return OPERATORS[name](**parameters)


def nearest(given: Any, known: Any) -> str:
    """Return the end of an error about an unknown name: the nearest known one, and all of them."""
    close = get_close_matches(str(given), list(known), n=1)
    listed = ", ".join(known) or "none"
    return (f"; did you mean '{close[0]}'?" if close else ";") + f" Known are: {listed}"


def short_side_size(width: int, height: int, short_px: int) -> Tuple[int, int]:
    """Return width and height after the short side is scaled to ``short_px``, rounded as PaddleClas rounds them.

    Raises:
        InvalidInput: that would be more than ``MAX_PIXELS``.
    """
    percent = float(short_px) / min(width, height)
    resized = round(width * percent), round(height * percent)
    if resized[0] * resized[1] > MAX_PIXELS:
        raise InvalidInput(
            f"an image of {width} x {height} is too long and thin: with a short side of {short_px} it would be "
            f"{resized[0]} x {resized[1]}, more than {MAX_PIXELS} pixels. Crop it first."
        )
    return resized


def check_image(image: Any) -> np.ndarray:
    """Raise InvalidInput unless this is an array with three dimensions, none of them empty."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or not image.size:
        got = f"{image.dtype.name} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInput(f"an image is an array (height, width, channels), none of them 0, got {got}")
    return image


def positive(operator: str, name: str, value: Any) -> int:
    """Raise ConfigError unless ``value`` is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{operator}: {name} must be a whole number from 1 up, got {value!r}")
    return value


def _width_height(operator: str, size: Any) -> Tuple[int, int]:
    if isinstance(size, (list, tuple)):
        if len(size) != 2:
            raise ConfigError(f"{operator}: size must be one number or [width, height], got {size!r}")
        width, height = size
        return positive(operator, "size", width), positive(operator, "size", height)
    return positive(operator, "size", size), positive(operator, "size", size)
