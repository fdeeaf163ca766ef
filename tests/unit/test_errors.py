import gc
import weakref

import pytest

from hubserve.errors import BY_CODE, HubError, ModuleFailed, drop_frames, from_wire, to_wire


@pytest.mark.parametrize("cls", BY_CODE.values())
def test_every_error_crosses_the_wire_as_itself(cls: type[HubError]) -> None:
    again = from_wire(to_wire(cls("what, why, what to do", "a traceback")))
    assert (type(again), again.message, again.detail) == (cls, "what, why, what to do", "a traceback")


def test_codes_are_unique() -> None:
    assert len(BY_CODE) == len({cls.code for cls in BY_CODE.values()})


def test_a_foreign_exception_becomes_module_failed_and_an_unknown_code_a_plain_error() -> None:
    assert isinstance(from_wire(to_wire(ValueError("x"))), ModuleFailed)
    assert type(from_wire({"code": "from the future", "message": "x"})) is HubError


def test_an_answered_error_keeps_no_frames() -> None:
    class Buffer:
        pass

    def fail() -> weakref.ref[Buffer]:
        buffer, failure = Buffer(), [None]
        try:
            try:
                raise ValueError
            except ValueError:
                raise HubError("x") from None
        except HubError as error:
            failure[0] = error  # a cycle: the error, this frame, its variable
            drop_frames(error)
        return weakref.ref(buffer)

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()
