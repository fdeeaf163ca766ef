"""Creation and order of findings."""

from collections.abc import Iterator

from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, by_level, from_error, run_checks
from hubserve.errors import ConfigError, HubError


def check_all_is_well() -> Iterator[Finding]:
    yield Finding(NOTE, "all", "well")


def check_something_that_raises() -> Iterator[Finding]:
    yield Finding(WARNING, "first", "found before")
    raise ConfigError("it is broken. Fix it")


def check_something_unreadable() -> Iterator[Finding]:
    raise PermissionError(13, "Permission denied", "/proc/x")
    yield


def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    found = list(run_checks((check_something_that_raises, check_something_unreadable, check_all_is_well)))
    assert [each.about for each in found] == ["first", "something that raises", "something unreadable", "all"]
    assert found[1] == Finding(ERROR, "something that raises", "it is broken", "Fix it")
    assert (found[2].level, "Permission denied" in found[2].reason) == (WARNING, True)


def test_the_worst_comes_first_and_otherwise_the_order_stays() -> None:
    found = [Finding(level, str(number), "") for number, level in enumerate((NOTE, ERROR, WARNING, NOTE, ERROR))]
    assert [each.about for each in by_level(found)] == ["1", "4", "2", "0", "3"]


def test_the_last_sentence_of_an_error_is_what_to_do() -> None:
    assert from_error(HubError("no 'x' here. There is y. Take y."), "x") == Finding(ERROR, "x", "no 'x' here. There is y", "Take y.")
    assert from_error(HubError("config.json has no x"), "x", "Add it", "f") == Finding(ERROR, "x", "config.json has no x", "Add it", "f")
