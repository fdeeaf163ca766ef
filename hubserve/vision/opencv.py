"""Import OpenCV when it is first needed: a module without pictures runs without it."""

from typing import Any

from hubserve.errors import MissingDependency


def opencv() -> Any:
    """Import and return the ``cv2`` package.

    Raises:
        MissingDependency: it is not installed in this environment.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            f"cannot work on pictures: OpenCV cannot be imported ({error}). "
            "Add 'opencv-python-headless' to the module's requirements.txt, or pip install it."
        ) from error
    return cv2
