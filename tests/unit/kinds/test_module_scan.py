"""Test the requirements of a module's code, read from its sources."""

from pathlib import Path

import pytest

from hubserve.kinds.module_scan import Place, scan_module

MODULE = """\
from __future__ import annotations
import os, json
import numpy as np
import six.moves.urllib.request
from skimage.io import imread
from paddlehub.module.module import moduleinfo, serving
from my_thing import helper
from .helper import one
from beside_it import two
import beside_folder.code
try:
    import lmdb
except ImportError:
    lmdb = None
try:
    import queue
except:
    import Queue as queue

@moduleinfo(name="my-thing", version="1.0.0")
class Thing:
    def predict(self):
        import tqdm
        import importlib
        __import__("yaml")
        return importlib.import_module("rarfile"), np.float(1), np.fromstring(b"1"), np.fromstring("1 2", sep=" ")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "place" / "a_folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "module.py").write_text(MODULE)
    (folder / "helper.py").write_text("one = 1\n")
    (folder / "test.py").write_text("import requests\n")
    (folder.parent / "beside_it.py").write_text("two = 2\n")
    (folder.parent / "beside_folder").mkdir()
    (folder.parent / "beside_folder" / "code.py").write_text("")
    return folder


def test_packages_are_those_that_neither_python_nor_the_folder_nor_hubserve_has(folder: Path) -> None:
    scan = scan_module(folder)
    needed = {name for name, places in scan.imports.items() if not all(each.optional for each in places)}
    assert needed == {"numpy", "six", "skimage", "tqdm", "yaml", "rarfile"}
    assert set(scan.imports) - needed == {"lmdb", "Queue", "requests"}
    assert {"six.moves.urllib.request", "skimage.io"} <= set(scan.dotted)


def test_places_say_file_line_and_whether_it_is_in_a_function(folder: Path) -> None:
    scan = scan_module(folder)
    assert scan.imports["numpy"] == (Place("module.py", 3, optional=False),)
    assert scan.imports["tqdm"] == (Place("module.py", 23, optional=False, in_function=True),)
    assert scan.imports["lmdb"] == (Place("module.py", 12, optional=True),)


def test_removed_names_are_found_through_aliases(folder: Path) -> None:
    removed = scan_module(folder).removed
    assert set(removed) == {"numpy.float", "numpy.fromstring"}
    assert len(removed["numpy.fromstring"]) == 1, "with sep= it is there still"
    (folder / "inner" / "more.py").write_text("from paddle import fluid\nimport numpy\nx = numpy.asscalar\n")
    assert {"paddle.fluid", "numpy.asscalar"} <= set(scan_module(folder).removed)


def test_files_that_are_not_python_3_are_reported_and_a_byte_order_mark_is_allowed(folder: Path) -> None:
    (folder / "old.py").write_text("print 'hello'\n")
    (folder / "inner" / "marked.py").write_bytes(b"\xef\xbb\xbfimport scipy\n")
    (folder / "inner" / "latin.py").write_bytes("# -*- coding: latin-1 -*-\nimport pandas  # \xe9\n".encode("latin-1"))
    (folder / "zero.py").write_bytes(b"import a\0b\n")
    scan = scan_module(folder)
    assert set(scan.unreadable) == {"old.py", "zero.py"}
    assert scan.unreadable["old.py"].startswith("line 1: ")
    assert {"scipy", "pandas"} <= set(scan.imports)


def test_folders_beside_and_installed_modules_provide_names(folder: Path, home: Path, tmp_path: Path) -> None:
    (folder / "more.py").write_text("import ppocr.data\nimport lac\n")
    assert {"ppocr", "lac"} <= set(scan_module(folder).imports)
    (tmp_path / "guide" / "ppocr").mkdir(parents=True)
    (tmp_path / "guide" / "ppocr" / "__init__.py").touch()
    (home / "modules" / "lac" / "1.0.0").mkdir(parents=True)
    assert not {"ppocr", "lac"} & set(scan_module(folder, beside=[tmp_path / "guide"]).imports)
