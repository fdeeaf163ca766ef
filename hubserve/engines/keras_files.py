"""Files of Keras, judged without it: ``.keras``, and the older ``.h5``."""

import json
import zipfile
from pathlib import Path

from hubserve.errors import LoadFailed

#: Keras 3's own format is a zip archive, the older one is HDF5, which holds data of any kind
KERAS_H5 = (".h5", ".hdf5")
KERAS_ENDINGS = (".keras", *KERAS_H5)
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: the attribute in which Keras keeps a whole model's description; files of weights lack it
_DESCRIPTION = b"model_config"
_BLOCK_BYTES = 1 << 20
#: a description farther into a file than this is not searched for
_MOST_BLOCKS = 64


def check_keras(path: Path) -> None:
    """Refuse a damaged file, and one that holds weights only.

    Raises:
        LoadFailed: saying why.
    """
    if path.suffix.lower() != ".keras":
        if not is_whole_h5(path):
            raise LoadFailed(
                f"'{path.name}' is an HDF5 file without a model's description, such as save_weights() writes. Save the whole model: "
                "model.save('model.keras')."
            )
        return
    try:
        with zipfile.ZipFile(str(path)) as archive:
            missing = sorted({_CONFIG, _WEIGHTS} - set(archive.namelist()))
    except (OSError, zipfile.BadZipFile) as error:
        raise LoadFailed(f"'{path.name}' is damaged or cut short: {error}. Save or copy the model again.") from None
    if missing:
        raise LoadFailed(
            f"'{path.name}' was not saved by Keras 3: it lacks {' and '.join(missing)}. Save it with model.save('model.keras')."
        )


def takes_texts(path: Path) -> bool:
    """Return True for a ``.keras`` file with an input of texts."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            waiting = [json.loads(archive.read(_CONFIG))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False  # loading it says why
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and value.get("class_name") == "InputLayer" and value.get("config", {}).get("dtype") == "string":
            return True
        waiting += list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return False


def is_whole_h5(path: Path) -> bool:
    """Return True for an HDF5 file in which Keras saved a whole model."""
    try:
        with path.open("rb") as file:
            before = file.read(len(_HDF5))
            if before != _HDF5:
                return False
            for _ in range(_MOST_BLOCKS):
                block = file.read(_BLOCK_BYTES)
                if _DESCRIPTION in before + block:
                    return True
                if not block:
                    return False
                before = block[-len(_DESCRIPTION) :]
    except OSError:
        return False
    return False
