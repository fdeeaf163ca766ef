"""Folders of tiinfer scripts: scripts of the form that guides show, with weights made in their environments."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.frameworks.digits import Digits
from tests.frameworks.home import FOLDER, FrameworkHome

_OWN = FOLDER / "tiinfer"
#: the guide itself, which is not a part of this repository
GUIDE = ROOT.parent / "shared" / "reference" / "tiinfer-inference-script.zh.md"
_FENCE = re.compile(r"^```\s*$", re.MULTILINE)


def script_folder(frameworks: FrameworkHome, digits: Digits, framework: str, origin: str, folder: Path, form: str = "saved_model") -> Path:
    """Write a script with its weights into a new folder, and return it.

    Args:
        frameworks: where weights are made.
        digits: to train with.
        framework: ``pytorch`` or ``tensorflow``.
        origin: ``own`` for the script beside this file, ``guide`` for the guide's own, as it is written.
        folder: does not exist yet.
        form: of a Keras model; see ``makers/tiinfer_tensorflow.py``.
    """
    shutil.copytree(_OWN / framework, folder)
    if origin == "guide":
        for file in folder.iterdir():
            file.unlink()
        for name, text in _files_of_guide(framework).items():
            (folder / name).write_text(text, "utf-8")
    if framework == "tensorflow":
        shutil.copytree(frameworks.made("tensorflow", "tiinfer_tensorflow", form, digits.file) / "model", folder / "model")
        return folder
    network = frameworks.folder / "made" / f"net-{origin}"
    network.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "net.py", network / "net.py")
    (folder / "model").mkdir()
    shutil.copyfile(frameworks.made("pytorch", "tiinfer_pytorch", network, digits.file) / "mnist_cnn.pt", folder / "model" / "mnist_cnn.pt")
    return folder


def _files_of_guide(framework: str) -> dict[str, str]:
    if not GUIDE.is_file():
        pytest.skip(f"NOT TESTED: the guide's own scripts, because '{GUIDE}' does not exist")
    blocks = _FENCE.split(GUIDE.read_text("utf-8"))
    scripts = [each for each in blocks if "(tiinfer.Model)" in each]
    (network,) = [each for each in blocks if "class Net(" in each]
    wanted = next(each for each in scripts if ("import tensorflow" in each) == (framework == "tensorflow"))
    return {"model_service.py": wanted, **({"net.py": network} if framework == "pytorch" else {})}
