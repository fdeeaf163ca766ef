"""Options of ``hub install`` about a module's environment."""

from pathlib import Path
from typing import NamedTuple

#: folder of a home that holds the user's profiles
PROFILES_FOLDER = "profiles"
#: as a profile: choose anew, ignoring the choice of an earlier install
AUTO = "auto"


class Options(NamedTuple):
    """Options of the user.

    Attributes:
        isolated: whether the module gets a separate environment in any case.
        python: Python to make it with; see :class:`hubserve.registry.environments.python_choice.PythonRequest`.
        allow_urls: whether the module may require packages from addresses.
        profile: the name of a profile, ``host``, :data:`AUTO`, or "" for the earlier choice, else an automatic one.
        packages: requirements in addition to the module's.
        wheels: folder that all packages come from, without an index; None for the usual sources.
    """

    isolated: bool = False
    python: str = ""
    allow_urls: bool = False
    profile: str = ""
    packages: tuple[str, ...] = ()
    wheels: Path | None = None
