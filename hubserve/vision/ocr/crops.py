"""Cut lines of text out of a picture, straightened."""

import numpy as np

from hubserve.vision.opencv import opencv

#: Of a line, in pixels: smaller ones are scaled up in the same step that straightens them, which keeps more of them than two steps do.
_LINE_HEIGHT_PX = 48
#: longer ones are squeezed: the transform takes no more
_LONGEST_PX = 16384
#: a box this many times as high as wide holds a line that runs upwards or downwards
_TALL = 1.5


def cut_out(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return one box's content, straightened; a tall one is turned by 90 degrees counterclockwise, so that its text runs to the right.

    Args:
        picture: uint8 (H, W, 3).
        box: (4, 2), clockwise from the upper left.
    Returns:
        uint8 (h, w, 3): in the picture's own scale, but the shorter side is 48 pixels at least.
    """
    cv2 = opencv()
    corners = np.asarray(box, np.float32)
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    wide, high = max(lengths[0], lengths[2], 1.0), max(lengths[1], lengths[3], 1.0)
    scale = max(1.0, _LINE_HEIGHT_PX / min(wide, high))
    width, height = min(round(wide * scale), _LONGEST_PX), min(round(high * scale), _LONGEST_PX)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, target)
    crop = cv2.warpPerspective(picture, transform, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.rot90(crop)) if height >= _TALL * width else np.asarray(crop)
