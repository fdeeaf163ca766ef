"""The picture that example requests send: drawn here, so that it can be given to anyone."""

import numpy as np

WIDTH_PX, HEIGHT_PX = 320, 240


def example_png() -> bytes:
    """Return a picture of shapes and text, as a PNG file of some kilobytes."""
    import cv2

    shades = np.linspace(200, 255, HEIGHT_PX, dtype=np.uint8)
    picture = np.repeat(shades[:, None, None], WIDTH_PX, axis=1).repeat(3, axis=2).copy()
    cv2.rectangle(picture, (20, 60), (120, 160), (60, 120, 220), -1)
    cv2.circle(picture, (220, 110), 60, (180, 100, 40), -1)
    cv2.putText(picture, "hubserve", (60, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (40, 40, 40), 3)
    done, encoded = cv2.imencode(".png", picture)
    if not done:
        raise RuntimeError("OpenCV could not write a PNG file of 320 by 240 pixels")
    return encoded.tobytes()
