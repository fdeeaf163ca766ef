"""The environment profile for PaddleOCR: it meets PaddleOCR's requirements.txt, and modules like PaddleOCR's get it."""

from pathlib import Path

import pytest

from hubserve.kinds.project_imports import folders_beside
from hubserve.registry.environments.code_requirements import required_names
from hubserve.registry.environments.profile import all_profiles

#: the requirements of PaddleOCR 2.0 to 2.10, except those for training and recovery only
ASKED = """
    shapely scikit-image imgaug albumentations pyclipper lmdb tqdm numpy visualdl rapidfuzz opencv-python opencv-contrib-python cython lxml
    premailer openpyxl attrdict pillow pyyaml python-docx beautifulsoup4 fonttools fire pdf2docx pymupdf
"""


def test_it_meets_the_requirements_of_paddleocr(tmp_path: Path) -> None:
    profile = all_profiles(tmp_path)["paddleocr"]
    packages = {line.partition("=")[0].partition("<")[0] for line in profile.wanted.lines}
    assert set(ASKED.split()) <= packages
    assert set(profile.pythons) == {"3.8", "3.9"}, "attrdict imports names of collections that 3.10 no longer has"


@pytest.mark.parametrize("package", ["imgaug", "lmdb", "albumentations"])
def test_only_this_profile_has_what_such_a_module_needs(tmp_path: Path, package: str) -> None:
    folder = tmp_path / "project" / "deploy" / "serving" / "reader"
    for name, text in {
        "setup.py": "",
        "tools/__init__.py": "",
        "tools/infer/read.py": "import numpy\nfrom data.steps import Steps\n",
        "data/__init__.py": "import cv2\nfrom .steps import Steps\n",
        "data/steps.py": f"import {package}\nclass Steps: pass\n",
        "deploy/serving/reader/module.py": "from tools.infer.read import Steps\n",
    }.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    needed = required_names(folder, folders_beside(folder))
    assert (needed[package].file, set(needed)) == ("data/steps.py", {"numpy", "cv2", package})
    suitable = [name for name, profile in all_profiles(tmp_path).items() if set(needed) <= set(profile.provides)]
    assert suitable == ["paddleocr"]
