"""Encoded pictures for models that take decoded ones: one input of bytes with the three channels last, ``uint8 [H, W, 3]``."""

from typing import Any, Optional, Sequence, Tuple

import numpy as np

from hubserve.types import ANY, TensorSpec

_CHANNELS = 3
_SIDES = 2


def picture_item(inputs: Sequence[TensorSpec], batched: bool) -> Optional[TensorSpec]:
    """Return what one picture becomes, without the batch dimension; None for a model that does not take pictures.

    Args:
        inputs: as requests see them.
        batched: whether their first dimension is the batch. Without it, the model may still take an array of pictures: one each time.
    """
    if len(inputs) != 1 or inputs[0].dtype != "uint8":
        return None
    shape = inputs[0].shape[1:] if batched else inputs[0].shape
    if not batched and len(shape) == _SIDES + 2 and shape[0] in (1, ANY):
        shape = (1, *shape[1:])
    elif len(shape) != _SIDES + 1:
        return None
    fits = shape[-1] == _CHANNELS and all(side > 0 or side == ANY for side in shape[-_CHANNELS:-1])
    return inputs[0]._replace(shape=tuple(shape)) if fits else None


def prepare(picture: Any, item: TensorSpec) -> np.ndarray:
    """Decode one picture, and resize it to the height and width that the model fixes; the other one keeps the picture's proportions.

    Args:
        picture: the encoded bytes, or base64 of them.
        item: of :func:`picture_item`.
    Returns:
        uint8 of the item's shape, BGR.
    Raises:
        InvalidInput, TooLarge, MissingDependency: see :func:`hubserve.vision.codecs.decode_picture`.
    """
    from hubserve.vision.codecs import decode_picture

    image = decode_picture(picture)
    height, width = _size(image.shape[:_SIDES], item.shape[-_CHANNELS:-1])
    if (height, width) != image.shape[:_SIDES]:
        from hubserve.vision.opencv import opencv

        cv2 = opencv()
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    return image.reshape(*item.shape[:-_CHANNELS], *image.shape)


def _size(given: Tuple[int, ...], wanted: Tuple[int, ...]) -> Tuple[int, int]:
    """Return the height and width of the resized picture."""
    (height, width), (fixed_height, fixed_width) = given, wanted
    if fixed_height == ANY and fixed_width == ANY:
        return height, width
    if fixed_height == ANY:
        return max(1, round(height * fixed_width / width)), fixed_width
    if fixed_width == ANY:
        return fixed_height, max(1, round(width * fixed_height / height))
    return fixed_height, fixed_width
