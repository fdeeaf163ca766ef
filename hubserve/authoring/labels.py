"""Names of classes, in either of the forms in which they are kept."""

import re
from pathlib import Path

from hubserve.errors import InvalidInput

_NUMBERED = re.compile(r"(\d+)[ \t]+(\S.*)")


def read_labels(path: Path) -> dict[int, str]:
    """Read a file of class names.

    Args:
        path: UTF-8 lines of ``<class id> <name>``, or of names alone, the first being class 0's.
    Returns:
        Class to name.
    Raises:
        InvalidInput: the file cannot be read, or holds no names, or a class twice.
    """
    try:
        lines = [line.strip() for line in path.expanduser().read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the labels '{path}': {error}. Give a UTF-8 text file with one class in each line.") from None
    numbered = [_NUMBERED.fullmatch(line) for line in lines if line]
    if not numbered:
        raise InvalidInput(f"the labels '{path}' are empty: give one class in each line.")
    if not all(numbered):
        while lines and not lines[-1]:
            lines.pop()
        return dict(enumerate(lines))
    found = {int(match[1]): match[2] for match in numbered if match}
    if len(found) != len(numbered):
        raise InvalidInput(f"the labels '{path}' name a class twice: each number may be there once.")
    return found


def check_labels(labels: dict[int, str], classes: int) -> None:
    """Refuse names for classes that a model does not have.

    Args:
        labels: class to name.
        classes: how many the model has; ANY where that is not known.
    Raises:
        InvalidInput: there is a name for a class beyond them.
    """
    if classes > 0 and labels and max(labels) >= classes:
        raise InvalidInput(
            f"the labels name class {max(labels)}, but the model has {classes} classes, 0 to {classes - 1}. "
            "Give the labels of this model, without lines that are no class."
        )


def write_labels(path: Path, labels: dict[int, str]) -> None:
    """Write lines of ``<class id> <name>``."""
    path.write_text("".join(f"{number} {name}\n" for number, name in sorted(labels.items())), encoding="utf-8")
