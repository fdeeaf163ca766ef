"""Call a module's code so that nothing it raises ends the instance."""

from typing import Callable, TypeVar

from hubserve.errors import HubError
from hubserve.kinds.forks import leave_if_forked
from hubserve.kinds.module_failures import as_failure

T = TypeVar("T")


def guarded(call: Callable[[], T]) -> T:
    """Call a module's code, and turn whatever it raises into a HubError.

    Raises:
        HubError: the module's own, or a ModuleFailed with exactly the exception's text.
    """
    try:
        return call()
    except HubError:
        raise
    except BaseException as error:  # one bad request must not end the instance
        leave_if_forked(error)
        raise as_failure(error) from error
