"""Report of a command's failure: one line and an exit status."""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from hubserve.errors import HubError
from hubserve.paths import home

INTERRUPTED = 130


def reported(action: Callable[[], int], words: Sequence[str], *, debug: bool, as_json: bool) -> int:
    """Run a command and turn whatever it raises into a message.

    Args:
        action: the command; returns its exit status.
        words: the command line, for the log.
        debug: whether to show tracebacks and details.
        as_json: whether to print ``{"error": {"code", "message"}}`` on stdout too.
    Returns:
        The exit status.
    """
    try:
        code = action()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except HubError as error:
        _report(error, debug=debug, as_json=as_json)
        return 1
    except Exception as error:  # a user gets a sentence; the traceback goes to the log
        _report(_unexpected(error, words), debug=debug, as_json=as_json)
        return 1
    return code


def _report(error: HubError, *, debug: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}, ensure_ascii=False))
    if debug:
        traceback.print_exception(error.__cause__ or error, file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
    hint = " (--debug shows where)" if error.detail and not debug else ""
    _say(error.message + hint)


def _unexpected(error: Exception, words: Sequence[str]) -> HubError:
    reported_error = HubError(f"unexpected {type(error).__name__}: {error}. {_log(error, words)}")
    reported_error.__cause__ = error
    return reported_error


def _log(error: Exception, words: Sequence[str]) -> str:
    path = home() / "log" / "hub.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} hub {shlex.join(words)}\n")
            log.writelines(traceback.format_exception(error))
    except OSError:
        return "Run it again with --debug to see where."
    return f"The traceback is in '{path}'; please report it."


def _say(message: str) -> None:
    print(f"hub: {message}", file=sys.stderr)
