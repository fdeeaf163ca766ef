"""Read and write label files: names of classes, numbered or in order."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple

from hubserve.errors import InvalidInput

_NUMBERED = re.compile(r"(\d+)[ \t]+(\S.*)", re.ASCII)


class Label(NamedTuple):
    """One class. Attributes: ``line``, counted from 1; ``number``, its index among the scores; ``name``."""

    line: int
    number: int
    name: str


def parse_labels(text: str) -> List[Label]:
    """Read class names.

    Args:
        text: lines of ``<class id> <name>``, or of names alone, the first being class 0's. Names may begin with a number
            (``3 little pigs``), so lines count as numbered only if all are.
    Raises:
        InvalidInput: there are no names, or only some of the lines have a class id.
    """
    lines = [line.strip() for line in text.splitlines()]
    matched = {place: _NUMBERED.fullmatch(line) for place, line in enumerate(lines) if line}
    if not matched:
        raise InvalidInput("the label file is empty: give one class in each line")
    numbered = [Label(place + 1, int(match[1]), match[2]) for place, match in matched.items() if match]
    if len(numbered) == len(matched):
        return numbered
    if any(label.number == label.line - 1 for label in numbered):
        place = next(place for place, match in matched.items() if not match)
        raise InvalidInput(
            f"the label file's line {place + 1} is not '<class id> <name>': {lines[place][:60]!r}, and others are. "
            "Write each line like '285 Egyptian cat', or names alone, the first being class 0's"
        )
    return [Label(place + 1, place, line) for place, line in enumerate(lines[: max(matched) + 1])]


def read_label_file(path: Path) -> List[Label]:
    """Read a file as :func:`parse_labels` reads text.

    Raises:
        InvalidInput: the file cannot be read, or is not a label file.
    """
    try:
        text = path.expanduser().read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read the labels '{path}': {error}. Give a UTF-8 text file with one class in each line.") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the labels '{path}' are not UTF-8: {error}. Convert the file: iconv -t UTF-8") from None
    try:
        return parse_labels(text)
    except InvalidInput as error:
        raise InvalidInput(f"{error.message} ('{path}').") from None


def read_labels(path: Path) -> Dict[int, str]:
    """Read a file of class names.

    Args:
        path: see :func:`parse_labels`; in UTF-8.
    Returns:
        Class -> name.
    Raises:
        InvalidInput: the file cannot be read, or holds no names, or a class twice.
    """
    labels = read_label_file(path)
    found = names_of(labels)
    if len(found) != len(labels):
        raise InvalidInput(f"the labels '{path}' name a class twice: each number may be there once.")
    return found


def names_of(labels: List[Label]) -> Dict[int, str]:
    """Return class -> name; the last name of a class counts."""
    return {label.number: label.name for label in labels}


def label_mismatch(labels: Dict[int, str], classes: int) -> str:
    """Return why names do not fit a model's classes; "" if they fit.

    Consecutive names from class 0 on must be as many as the model has classes. Names with gaps must be of classes that it has.

    Args:
        labels: class -> name.
        classes: the model's number of classes; ANY if unknown.
    """
    if classes <= 0 or not labels:
        return ""
    if max(labels) >= classes:
        return f"the labels name class {max(labels)}, but the model has {classes} classes, 0 to {classes - 1}"
    if len(labels) == max(labels) + 1 < classes:
        return f"there are {len(labels)} labels, but the model has {classes} classes"
    return ""


def check_labels(labels: Dict[int, str], classes: int) -> None:
    """Refuse names that do not fit a model's classes.

    Args:
        labels: class -> name.
        classes: the model's number of classes; ANY if unknown.
    Raises:
        InvalidInput: see :func:`label_mismatch`.
    """
    reason = label_mismatch(labels, classes)
    if reason:
        raise InvalidInput(f"{reason}. Give the labels of this model, without further lines.")


def write_labels(path: Path, labels: Dict[int, str]) -> None:
    """Write lines of ``<class id> <name>``."""
    path.write_text("".join(f"{number} {name}\n" for number, name in sorted(labels.items())), encoding="utf-8")
