"""What the user of ``hub install`` says of a module's environment."""

from pathlib import Path
from typing import NamedTuple

#: of a home: where the profiles of the user are
PROFILES_FOLDER = "profiles"
#: as a profile: choose anew, whatever was asked for when the module was installed before
AUTO = "auto"


class Options(NamedTuple):
    """The user's wishes.

    Attributes:
        isolated: an environment of its own in any case.
        python: which Python to make it with; see :class:`hubserve.registry.environments.python_choice.Wish`.
        allow_urls: whether the module may name addresses to fetch packages from.
        profile: the name of a profile, ``host``, :data:`AUTO`, or "" for what was asked for before, else what fits.
        packages: requirements beside those of the module.
        wheels: a folder that all packages come from, with no index asked; None for the usual places.
    """

    isolated: bool = False
    python: str = ""
    allow_urls: bool = False
    profile: str = ""
    packages: tuple[str, ...] = ()
    wheels: Path | None = None
