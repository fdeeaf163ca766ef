"""What an environment needs beside what its module asks for."""

import re
from collections.abc import Sequence

from hubserve.registry.environments.interpreters import Python

#: What hubserve's own code needs in every instance: the oldest numpy that has wheels for a Python.
_NUMPY = {"3.8": "numpy>=1.17.3,<3", "3.9": "numpy>=1.19.3,<3", "3.10": "numpy>=1.21.3,<3", "3.11": "numpy>=1.23.2,<3"}
_NUMPY_LATER = {"3.12": "numpy>=1.26,<3", "3.13": "numpy>=2.1,<3"}

#: Packages that import others without asking for them.
_FORGOTTEN = {"paddlepaddle": "setuptools", "paddlepaddle-gpu": "setuptools"}


def added(lines: Sequence[str], python: Python) -> list[str]:
    """A module's requirement lines and those that go with them."""
    from packaging.utils import canonicalize_name

    names = {canonicalize_name(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}
    forgotten = {needed for name, needed in _FORGOTTEN.items() if name in names and needed not in names}
    return [*lines, {**_NUMPY, **_NUMPY_LATER}.get(python.minor, "numpy>=1.17.3,<3"), *sorted(forgotten)]
