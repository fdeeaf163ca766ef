"""What is logged can be changed while the server runs."""

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hubserve.errors import InvalidInput
from hubserve.protocols.open_inference.core.log_settings import LogSettings
from hubserve.telemetry.log_format import TextFormatter

log = logging.getLogger("hubserve")
FIRST = {"log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"}


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """What the server prints."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter())
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    LogSettings().update(FIRST)
    root.removeHandler(handler)
    root.setLevel(before)


def printed(stream: io.StringIO) -> list[str]:
    """The messages that appear when each level is logged once."""
    stream.seek(0)
    stream.truncate()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("at %s", level)
    return [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()]


def test_the_default_settings_describe_what_the_server_does(console: io.StringIO) -> None:
    assert LogSettings().settings() == FIRST
    assert printed(console) == ["info", "warning", "error"]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_each_level_can_be_turned_off_and_on(console: io.StringIO, level: str) -> None:
    settings = LogSettings().update({f"log_{level}": False})
    assert settings == FIRST | {f"log_{level}": False}
    assert printed(console) == [each for each in ("info", "warning", "error") if each != level]
    LogSettings().update({f"log_{level}": True})
    assert printed(console) == ["info", "warning", "error"]


def test_verbose_messages_can_be_turned_on(console: io.StringIO) -> None:
    assert LogSettings().update({"log_verbose_level": 1, "log_info": False})["log_verbose_level"] == 1
    assert printed(console) == ["debug", "warning", "error"]
    LogSettings().update({"log_verbose_level": 0})
    assert printed(console) == ["warning", "error"]


def test_the_time_format_can_be_changed(console: io.StringIO) -> None:
    printed(console)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO at info\n", console.getvalue())
    LogSettings().update({"log_format": "ISO8601"})
    printed(console)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO at info\n", console.getvalue())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_file": "/tmp/x"}, "log file location can not be updated through network protocol"),
        ({"log_info": "false"}, "log_info must be true or false"),
        ({"log_info": None}, "log_info must be true or false"),
        ({"log_verbose_level": -1}, "log_verbose_level must be a whole number"),
        ({"log_verbose_level": True}, "log_verbose_level must be a whole number"),
        ({"log_verbose_level": 10**30}, "log_verbose_level must be a whole number"),
        ({"log_format": "xml"}, "log_format must be 'default' or 'ISO8601'"),
        ({"log_format": ["ISO8601"]}, "log_format must be"),
        ({"log_colour": True}, "there is no log setting 'log_colour'"),
        ("log_info", "log settings must be an object"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(console: io.StringIO, changes: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        LogSettings().update({"log_warning": False, **changes} if isinstance(changes, dict) else changes)
    assert LogSettings().settings() == FIRST


def test_all_settings_can_be_sent_back_as_received(console: io.StringIO) -> None:
    assert LogSettings().update(LogSettings().settings()) == FIRST
