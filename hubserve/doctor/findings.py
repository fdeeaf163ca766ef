"""Findings of checks, and running checks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, ParamSpec

from hubserve.errors import HubError

ERROR, WARNING, NOTE = "error", "warning", "note"
#: the most severe first
LEVELS = (ERROR, WARNING, NOTE)


class Finding(NamedTuple):
    """Finding of a check.

    Attributes:
        level: ``error``: something does not work; ``warning``: it may fail or be slow; ``note``: a fact.
        about: its topic: a key, a line, a requirement, or a part of the machine.
        reason: the problem, or the fact.
        fix: what to do; "" if nothing.
        file: the file concerned, or "".
    """

    level: str
    about: str
    reason: str
    fix: str = ""
    file: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return dict(self._asdict())


def from_error(error: HubError, about: str, fix: str = "", file: str = "", level: str = ERROR) -> Finding:
    """Return a finding from an error. Its last sentence, if it has several, is the fix.

    Args:
        error: the error.
        about: the topic.
        fix: the fix if the error has one sentence only.
        file: the file concerned.
        level: the severity.
    """
    reason, _, remedy = error.message.rpartition(". ")
    return Finding(level, about, reason, remedy, file) if reason else Finding(level, about, error.message, fix, file)


P = ParamSpec("P")
Check = Callable[P, Iterable[Finding]]


def run_checks(checks: Iterable[Check[P]], *args: P.args, **kwargs: P.kwargs) -> Iterator[Finding]:
    """Run checks one after the other; a check that raises becomes a finding, and the others continue."""
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            yield from check(*args, **kwargs)
        except HubError as error:
            yield from_error(error, name)
        except (OSError, ValueError) as error:
            yield Finding(WARNING, name, f"the check failed: {error}")


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, the worst first, otherwise in the order in which they were found."""
    return sorted(findings, key=lambda each: LEVELS.index(each.level))
