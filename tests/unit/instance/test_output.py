"""What Python code in an instance writes, as the gateway reads it."""

import logging
import subprocess
import sys

import pytest

from hubserve.wire.output_marks import OutputLine, OutputLines

START = """
import logging, os, sys, threading, traceback, warnings
from hubserve.instance.output import mark_frame, mark_output, name_output, write_error
from hubserve.wire.current_requests import CurrentFrame, RequestReference, compute_frame, leave_frame
mark_output()
name_output("shout@1.0.0#0")
requests = [RequestReference("a", ""), None, RequestReference("b", "")]
"""


def written(code: str) -> tuple[list[OutputLine], str]:
    """The lines of a process whose output is a pipe, and what it calls itself."""
    done = subprocess.run([sys.executable, "-c", START + code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
    lines = OutputLines()
    found = [*lines.feed(done.stdout), *lines.close()]
    return found, lines.shown_as


@pytest.mark.parametrize(
    ("code", "text", "level", "logger"),
    [
        ("print('one', 2)", "one 2", logging.INFO, ""),
        ("sys.stderr.write('half'); sys.stderr.write(' line\\n')", "half line", logging.INFO, ""),
        ("sys.stdout.buffer.write(b'bytes\\n')", "bytes", logging.INFO, ""),
        ("print('no line break', end='')", "no line break", logging.INFO, ""),
        ("logging.warning('%s', 'of the root logger')", "WARNING:root:of the root logger", logging.WARNING, "root"),
        ("logging.getLogger('a.b').critical('x')", "x", logging.CRITICAL, "a.b"),
        ("logging.basicConfig(level=10, format='<%(message)s>'); logging.getLogger('c').debug('y')", "<y>", logging.DEBUG, "c"),
        (
            "logging.getLogger('d').addHandler(logging.StreamHandler(sys.stdout)); logging.getLogger('d').error('z')",
            "z",
            logging.ERROR,
            "d",
        ),
        ("write_error('one\\ntwo')", "one\ntwo", logging.ERROR, ""),
        ("print('as print', file=sys.__stderr__)", "as print", logging.INFO, ""),
        (
            "from hubserve.kinds.triton.api.logger import Logger; Logger.log_warn('of a model')",
            "W <string>:8] of a model",
            logging.WARNING,
            "",
        ),
        ("from hubserve.kinds.triton.api.logger import Logger; Logger.log_error('m')", "E <string>:8] m", logging.ERROR, ""),
    ],
)
def test_lines_keep_their_level_and_logger(code: str, text: str, level: int, logger: str) -> None:
    (line,), shown_as = written(code)
    assert (line.text.decode(), line.mark.level, line.mark.logger, line.is_marked) == (text, level, logger, True)
    assert shown_as == "shout@1.0.0#0"


def test_tracebacks_are_errors_and_warnings_are_warnings() -> None:
    lines, _ = written("try: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\nwarnings.warn('careful')")
    assert {each.mark.level for each in lines if b"careful" not in each.text} == {logging.ERROR}
    assert [each.mark.level for each in lines if b"careful" in each.text] == [logging.WARNING]


def test_the_level_of_records_is_kept_by_handlers_that_write_on_their_own() -> None:
    code = """
class Own(logging.Handler):
    def emit(self, record):
        def show(text):
            print("own:", text)
        show(self.format(record))
logging.getLogger("own").addHandler(Own())
logging.getLogger("own").critical("x")
"""
    (line,), _ = written(code)
    assert (line.text, line.mark.level, line.mark.logger) == (b"own: x", logging.CRITICAL, "own")


def test_the_traceback_that_ends_a_process_is_an_error() -> None:
    lines, _ = written("raise ValueError('the end')")
    assert lines[-1].text == b"ValueError: the end"
    assert {each.mark.level for each in lines} == {logging.ERROR}


def test_lines_name_the_frame_and_the_requests_for_which_their_thread_works() -> None:
    code = """
print("before")
compute_frame(CurrentFrame(5, requests))
print("all")
compute_frame(CurrentFrame(5, requests, 2))
thread = threading.Thread(target=print, args=("one of them",)); thread.start(); thread.join()
leave_frame()
print("after")
"""
    lines, _ = written(code)
    assert [(each.text.decode(), each.mark.frame, each.mark.call, each.mark.ids) for each in lines] == [
        ("before", 0, -1, ()),
        ("all", 5, -1, ("a", "b")),
        ("one of them", 5, 2, ("b",)),
        ("after", 0, -1, ()),
    ]


def test_native_output_belongs_to_the_frame_that_was_marked() -> None:
    code = "compute_frame(CurrentFrame(9, requests)); mark_frame(); os.write(1, b'native\\n'); os.system('echo of a child')"
    lines, _ = written(code)
    assert [(each.text.decode(), each.mark.frame, each.is_marked) for each in lines] == [
        ("native", 9, False),
        ("of a child", 9, False),
    ]


def test_threads_do_not_mix_their_lines() -> None:
    code = """
def write(name):
    for _ in range(300):
        print(name, name, name)
threads = [threading.Thread(target=write, args=(str(each) * 50,)) for each in range(4)]
for each in threads: each.start()
for each in threads: each.join()
"""
    lines, _ = written(code)
    assert len(lines) == 1200
    assert {each.text for each in lines} == {b" ".join([b"%d" % digit * 50] * 3) for digit in range(4)}


def test_nothing_is_marked_where_output_was_redirected_or_closed() -> None:
    code = """
kept, (read, write) = os.dup(1), os.pipe()
os.dup2(write, 1); os.dup2(write, 2)
print("elsewhere"); logging.getLogger("x").error("logged"); mark_frame()
os.dup2(kept, 1)
print(os.read(read, 100))
os.close(2)
compute_frame(CurrentFrame(1)); mark_frame()
try: sys.stderr.write("x")
except OSError as error: print(error.errno)
os.dup2(kept, 2)
"""
    lines, _ = written(code)
    assert [each.text for each in lines] == [b"b'elsewhere\\nlogged\\n'", b"9"]
