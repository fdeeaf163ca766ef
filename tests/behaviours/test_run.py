"""``hub run`` of modules in the manner of published ones: options, and what is printed, as PaddleHub has it."""

import json
from pathlib import Path

import pytest

from tests.conftest import hub

WORDS = """
import argparse
import os

from paddlehub.common.logger import logger
from paddlehub.io.parser import txt_parser
from paddlehub.module.module import moduleinfo, runnable, serving


class DataFormatError(Exception):
    pass


@moduleinfo(name="words", version="1.1.0", type="nlp/lexical_analysis")
class Words:
    @serving
    def cut(self, texts, use_gpu=False, batch_size=1):
        return [{"word": text.split(), "tag": ["n"] * len(text.split())} for text in texts]

    @runnable
    def run_cmd(self, argvs):
        self.parser = argparse.ArgumentParser(
            description="Run the words module.", prog='hub run words', usage='%(prog)s', add_help=True)
        self.arg_input_group = self.parser.add_argument_group(title="Input options", description="Input data. Required")
        self.arg_config_group = self.parser.add_argument_group(
            title="Config options", description="Run configuration for controlling module behavior, not required.")
        self.arg_config_group.add_argument('--use_gpu', type=eval, default=False)
        self.arg_config_group.add_argument('--batch_size', type=int, default=1)
        self.arg_input_group.add_argument('--input_file', type=str, default=None)
        self.arg_input_group.add_argument('--input_text', type=str, default=None)
        args = self.parser.parse_args(argvs)
        if args.input_file:
            if not os.path.exists(args.input_file):
                raise RuntimeError("File %s is not exist." % args.input_file)
            input_data = txt_parser.parse(args.input_file, use_strip=True)
        elif args.input_text:
            input_data = [args.input_text]
        else:
            self.parser.print_help()
            return None
        return self.cut(texts=input_data, use_gpu=args.use_gpu, batch_size=args.batch_size)
"""

COLOURS = """
import argparse
import ast
from collections import OrderedDict

import cv2
import numpy as np
import paddlehub as hub
from paddlehub.module.module import moduleinfo, runnable, serving


@moduleinfo(name="colours", version="1.0.0", type="CV/image_classification", author="x", author_email="", summary="The mean colour.")
class Colours(hub.Module):
    def _initialize(self):
        self.names = ["blue", "green", "red"]

    def classification(self, paths, use_gpu=False, batch_size=1, top_k=1):
        results = []
        for path in paths:
            mean = cv2.imread(path).mean(axis=(0, 1))
            order = np.argsort(-mean)[:top_k]
            results.append(OrderedDict((self.names[each], float(mean[each])) for each in order))
        return results

    @runnable
    def run_cmd(self, argvs):
        parser = argparse.ArgumentParser(prog='hub run colours')
        parser.add_argument('--input_path', type=str, help="path to image.")
        parser.add_argument('--top_k', type=ast.literal_eval, default=1)
        parser.add_argument('--use_gpu', type=ast.literal_eval, default=False)
        parser.add_argument('--batch_size', type=ast.literal_eval, default=1)
        parser.add_argument('--pixels', action='store_true')
        args = parser.parse_args(argvs)
        if args.pixels:
            return [{"data": cv2.imread(args.input_path), "path": args.input_path, "score": np.float32(0.5)}]
        return self.classification(paths=[args.input_path], use_gpu=args.use_gpu, batch_size=args.batch_size, top_k=args.top_k)
"""

STYLE = """
import argparse
import os

import cv2
from paddlehub.module.module import moduleinfo, runnable


@moduleinfo(name="style", version="1.0.0", type="CV/style_transfer")
class Style:
    @runnable
    def run_cmd(self, argvs: list):
        self.parser = argparse.ArgumentParser(prog='hub run {}'.format(self.name), usage='%(prog)s', add_help=True)
        self.parser.add_argument('--input_path', type=str)
        self.parser.add_argument('--output_dir', type=str, default='style_output')
        args = self.parser.parse_args(argvs)
        os.makedirs(args.output_dir, exist_ok=True)
        cv2.imwrite(os.path.join(args.output_dir, 'out.png'), 255 - cv2.imread(args.input_path))
        return 'Results are saved in %s' % args.output_dir
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, shared_home: Path) -> Path:
    import cv2
    import numpy as np

    place = tmp_path_factory.mktemp("runnable")
    for name, source in (("words", WORDS), ("colours", COLOURS), ("style", STYLE)):
        (place / name).mkdir()
        (place / name / "__init__.py").touch()
        (place / name / "module.py").write_text(source)
        done = hub("install", place / name, home=shared_home)
        assert done.returncode == 0, done.stderr
    cv2.imwrite(str(place / "red.png"), np.full((2, 2, 3), (10, 20, 200), np.uint8))
    (place / "texts.txt").write_text("good day\n今天 是个 好日子\n", "utf-8")
    return place


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["words", "--input_text", "good day"], "[{'word': ['good', 'day'], 'tag': ['n', 'n']}]\n"),
        (
            ["words", "--input_file", "texts.txt", "--use_gpu", "False", "--batch_size", "2"],
            "[{'word': ['good', 'day'], 'tag': ['n', 'n']}, {'word': ['今天', '是个', '好日子'], 'tag': ['n', 'n', 'n']}]\n",
        ),
        (["colours", "--input_path", "red.png", "--top_k", "2"], None),
        (["style", "--input_path", "red.png", "--output_dir", "out"], "Results are saved in out\n"),
    ],
)
def test_the_result_is_printed_in_pythons_form(published: Path, shared_home: Path, words: list[str], printed: str | None) -> None:
    from collections import OrderedDict

    done = hub("run", *words, home=shared_home, cwd=published)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (printed or f"{[OrderedDict([('red', 200.0), ('green', 20.0)])]}\n")


def test_arrays_are_printed_as_numpy_writes_them_and_nothing_as_none(published: Path, shared_home: Path) -> None:
    import cv2
    import numpy as np

    done = hub("run", "colours", "--input_path", "red.png", "--pixels", home=shared_home, cwd=published)
    result = [{"data": cv2.imread(str(published / "red.png")), "path": "red.png", "score": np.float32(0.5)}]
    assert done.stdout == f"{result}\n"
    helped = hub("run", "words", home=shared_home, cwd=published)
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: hub run words\n")
    assert helped.stdout.endswith("\nNone\n")


def test_json_is_printed_where_asked_before_the_name(published: Path, shared_home: Path) -> None:
    done = hub("run", "--json", "colours", "--input_path", "red.png", "--pixels", home=shared_home, cwd=published)
    assert json.loads(done.stdout) == [{"data": [[[10, 20, 200]] * 2] * 2, "path": "red.png", "score": 0.5}]
    assert hub("run", "--json", "style", "--input_path", "red.png", home=shared_home, cwd=published).stdout.startswith('"Results')
    behind = hub("run", "style", "--json", home=shared_home, cwd=published)
    assert behind.returncode == 2
    assert "unrecognized arguments: --json" in behind.stderr
