"""Calls and conversations in subprocesses."""

import os
import signal
import time

import pytest

from hubserve.engines.subprocess_call import ChildFailed, Conversation
from hubserve.errors import InvalidInput


def count(start):
    """Add up the numbers that it receives; print lines that are not answers."""
    total = start
    while True:
        print("this is not an answer")
        number = yield {"total": total, "pid": os.getpid()}
        if number == "refuse":
            raise InvalidInput("that is no number")
        if number == "sleep":
            time.sleep(60)
        total += number


def talk(timeout_s=30.0):
    return Conversation(f"{__name__}:count", [5], timeout_s)


def test_a_conversation_goes_on_in_one_process_which_ends_with_it():
    with talk() as child:
        first = child.answer()
        assert [child.ask(number)["total"] for number in (1, 2)] == [6, 8]
        assert child.ask(0)["pid"] == first["pid"] != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)


def test_an_error_of_the_child_is_raised_here_with_what_it_said():
    with talk() as child:
        child.answer()
        with pytest.raises(InvalidInput, match="that is no number") as caught:
            child.ask("refuse")
        assert "this is not an answer" in caught.value.detail


def test_a_child_that_dies_or_hangs_is_told():
    with talk() as child:
        os.kill(child.answer()["pid"], signal.SIGKILL)
        with pytest.raises(ChildFailed, match="ended by signal 9") as caught:
            child.ask(1)
        assert not caught.value.lasting
    with talk(timeout_s=5.0) as child:
        child.answer()
        child._timeout_s = 0.2
        with pytest.raises(ChildFailed, match="more than"):
            child.ask("sleep")
