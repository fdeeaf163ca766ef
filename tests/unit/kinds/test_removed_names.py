"""Test removed names, in a process of their own: they patch the packages of the whole process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubserve.kinds import removed_names
from hubserve.kinds.removed_names import VARIABLE
from tests.conftest import ROOT

#: old code -> its result
OLD: dict[str, Any] = {
    "numpy.fromstring(b'\\x01\\x02', numpy.uint8).tolist()": [1, 2],
    "numpy.fromstring('ab', numpy.uint8).tolist()": [97, 98],
    "numpy.fromstring(b'', numpy.uint8).tolist()": [],
    "numpy.fromstring(b'\\x01\\x02\\x03\\x04', dtype='uint16', count=1).tolist()": [513],
    "numpy.fromstring('1 2', sep=' ').tolist()": [1.0, 2.0],
    "numpy.fromstring(b'ab', numpy.uint8).flags.writeable": True,
    "refused(numpy.fromstring, b'abc', numpy.uint16)": "ValueError: string size must be a multiple of element size",
    "numpy.zeros(2, numpy.float).dtype.name": "float64",
    "numpy.zeros(2, numpy.int).dtype.name": "int64",
    "numpy.zeros(2, numpy.bool).dtype.name": "bool",
    "numpy.array([{}], numpy.object).dtype.name": "object",
    "numpy.asscalar(numpy.array([3]))": 3,
    "numpy.row_stack(([1], [2])).tolist()": [[1], [2]],
    "[numpy.product([2, 3]).item(), numpy.sometrue([0, 1]).item(), numpy.alltrue([0, 1]).item()]": [6, True, False],
    "numpy.in1d([[1, 2], [3, 4]], [2, 3]).tolist()": [False, True, True, False],
    "numpy.trapz([1, 2, 3]).item()": 4.0,
    "[numpy.NaN != numpy.NaN, numpy.Inf, numpy.NINF] == [True, float('inf'), -float('inf')]": True,
    "[numpy.float_.__name__, numpy.int0.__name__, numpy.unicode_.__name__]": ["float64", "int64", "str_"],
    "numpy.asfarray([1]).dtype.name": "float64",
    "numpy.find_common_type([numpy.float32, numpy.int64], []).name": "float64",
    "numpy.find_common_type([numpy.float32], [numpy.int64]).name": "float32",
    "numpy.array([1, 2], numpy.uint8).tostring() == b'\\x01\\x02'": True,
    "numpy.array([1, 5]).ptp().item()": 4,
    "set_item(numpy.zeros((2, 2))).tolist()": [[0.0, 7.0], [9.0, 8.0]],
    "PIL.Image.new('RGB', (8, 8)).resize((4, 4), PIL.Image.ANTIALIAS).size": [4, 4],
    "PIL.Image.LINEAR == PIL.Image.BILINEAR": True,
    "[side > 0 for side in PIL.ImageDraw.Draw(PIL.Image.new('L', (9, 9))).textsize('text')]": [True, True],
    "font.getsize('ab')[0] > font.getsize('a')[0] > 0": True,
    "PIL.ImageDraw.Draw(PIL.Image.new('L', (9, 9))).textsize('a\\nb', font)[1] > 1.5 * font.getsize('A')[1]": True,
    "PIL.PILLOW_VERSION == PIL.__version__": True,
    "collections.Iterable is collections.abc.Iterable": True,
    "isinstance({}, collections.Mapping)": True,
    "inspect.getargspec(lambda a, b=1, *c: a)": [["a", "b"], "c", None, [1]],
    "base64.decodestring(base64.encodestring(b'ab')) == b'ab'": True,
    "time.clock() <= time.clock()": True,
    "sys.maxint == sys.maxsize": True,
    "[each.tag for each in ET.fromstring('<a><b/><c/></a>').getchildren()]": ["b", "c"],
    "threading.current_thread().isAlive()": True,
    "array.array('B', [1]).tostring() == b'\\x01'": True,
    "yaml.load('a: [1, 2]')": {"a": [1, 2]},
    "yaml.load('a: 1', Loader=yaml.SafeLoader)": {"a": 1},
    "imp.load_source('made', made).value": 5,
    "cv2.CV_AA == cv2.LINE_AA": True,
}

SETUP = """\
import array, base64, collections, collections.abc, inspect, sys, threading, time
import xml.etree.ElementTree as ET
import cv2, numpy, yaml, PIL.Image, PIL.ImageDraw, PIL.ImageFont
import imp
from collections import Callable
from numpy import float as old_float

font = PIL.ImageFont.load_default(12)

def refused(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def set_item(values):
    values.itemset(1, 7.0)
    values.itemset((1, 0), 9.0)
    values.itemset(1, 1, 8.0)
    return values
"""

#: an installed package that looks for old names
DETECTION = """\
import numpy, collections
found = [hasattr(numpy, "float"), hasattr(collections, "Iterable"), hasattr(numpy, "asscalar"), hasattr(numpy, "float64")]
"""


def run(code: str, tmp_path: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    script = tmp_path / "user" / "code.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(code)
    start = f"from hubserve.kinds.removed_names import runtime; runtime.install(); import runpy; runpy.run_path({str(script)!r})"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path / "site-packages")]), **environ}
    return subprocess.run([sys.executable, "-c", start], env=environ, capture_output=True, text=True, check=False, cwd=tmp_path)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("old")
    (folder / "made.py").write_text("value = 5\n")
    lines = [f"made = {str(folder / 'made.py')!r}", "import json", "answers = {}"]
    for each in OLD:
        lines += ["try:", f"    answers[{each!r}] = {each}", "except Exception as error:", f"    answers[{each!r}] = repr(error)"]
    done = run(SETUP + "\n".join([*lines, "print(json.dumps(answers))"]), folder)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("said", OLD)
def test_old_code_gets_the_removed_names(answers: dict[str, Any], said: str) -> None:
    assert answers[said] == OLD[said]


def test_each_name_is_logged_once_with_its_place(tmp_path: Path) -> None:
    done = run("import numpy as np\n\nfor i in range(3):\n    np.asscalar(np.ones(1)), np.fromstring(b'1', np.uint8)\n", tmp_path)
    lines = [line for line in done.stderr.splitlines() if "no longer has" in line]
    assert len(lines) == 2, done.stderr
    assert all(line.startswith(f"{tmp_path / 'user' / 'code.py'}, line 4: numpy ") for line in lines)


def test_installed_packages_see_only_existing_names(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "detecting"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(DETECTION)
    done = run("import detecting, numpy\nprint(detecting.found, hasattr(numpy, 'float'))", tmp_path)
    assert done.stdout.split("\n")[0] == "[False, False, False, True] True", done.stderr


def test_names_that_never_were_are_errors_as_ever(tmp_path: Path) -> None:
    done = run("import numpy\nnumpy.flaot\n", tmp_path)
    assert "AttributeError: module 'numpy' has no attribute 'flaot'" in done.stderr
    done = run("from collections import Iterible\n", tmp_path)
    assert "ImportError: cannot import name 'Iterible' from 'collections'" in done.stderr


def test_a_setting_leaves_them_removed(tmp_path: Path) -> None:
    assert "has no attribute 'float'" in run("import numpy\nnumpy.float\n", tmp_path, **{VARIABLE: "0"}).stderr


def test_nothing_is_imported_for_it(tmp_path: Path) -> None:
    done = run(
        "import sys\nprint([each for each in ('cv2', 'PIL', 'paddle', 'yaml', 'distutils', 'imp') if each in sys.modules])", tmp_path
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_every_replacement_can_be_looked_up() -> None:
    for table in removed_names.TABLES.values():
        for name in (*table.NAMES, *getattr(table, "WRAPPED", {}), *getattr(table, "MODULES", {})):
            assert removed_names.find(name) == name
            assert removed_names.find(f"{name}.more") == name
        for name in getattr(table, "METHODS", {}):
            assert name in set(removed_names.find_method(name.rpartition(".")[2]))
