"""Output folder of a new module: written completely or not at all, and never over an existing one."""

import json
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from hubserve.errors import InstallError
from hubserve.registry.names import check_name, check_version, folder_name

_TEMPLATES = Path(__file__).with_name("templates")
#: a module is imported under its name, and these are imported already
_TAKEN = frozenset({*sys.stdlib_module_names, "hubserve", "numpy", "paddlehub", "paddle", "cv2", "onnxruntime", "openvino"})


@contextmanager
def new_folder(output_dir: Path, name: str, version: str) -> Iterator[Path]:
    """Yield a folder to write a module into; it becomes ``output_dir/NAME`` on success, and is deleted otherwise.

    Raises:
        InstallError: the name or version cannot be used, something of that name is there, or the folder cannot be written.
    """
    check_name(name)
    check_version(version)
    if folder_name(name) in _TAKEN:
        raise InstallError(f"a module cannot be called '{name}', because Python has a package of that name. Choose another name.")
    target = place_of(output_dir, name)
    if target.exists() or target.is_symlink():
        raise InstallError(f"'{target}' is there already, and nothing is written over it. Choose another name or -o FOLDER, or remove it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise InstallError(f"cannot write into '{target.parent}': {error.strerror}. Choose another place with -o FOLDER.") from error
    try:
        staging.chmod(0o755)
        yield staging
        staging.rename(target)
    except OSError as error:
        raise InstallError(
            f"cannot write '{target}': {error.strerror or error}. Nothing was written. Fix the problem and retry."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def place_of(output_dir: Path, name: str) -> Path:
    """Return the absolute path where :func:`new_folder` puts a module."""
    return output_dir.expanduser().absolute() / folder_name(name)


def fill(template: str, target: Path, values: Mapping[str, str]) -> None:
    """Write a template's files into a folder, with ``$key`` replaced in texts and ``NAME`` in file names."""
    for path in sorted((_TEMPLATES / template).glob("*.tmpl")):
        file_name = path.name.removesuffix(".tmpl").replace("NAME", values["folder"])
        (target / file_name).write_text(Template(path.read_text("utf-8")).substitute(values), encoding="utf-8")


def class_name(name: str) -> str:
    """Return ``MyModule`` for ``my_module``."""
    words = "".join(word[:1].upper() + word[1:] for word in re.split(r"[-_]+", name))
    return words if words.isidentifier() and not keyword.iskeyword(words) else f"Module{words}"


def literal(value: Any, comments: Mapping[str, str], indent: int = 0) -> str:
    """Return a value as formatted Python source: dicts and lists of dicts over several lines, comments above their keys."""
    if isinstance(value, Source):
        return str(value)
    inner = " " * (indent + 4)
    if isinstance(value, Mapping) and value:
        lines = [
            f"{inner}# {comments[key]}\n{entry}" if key in comments else entry
            for key, entry in ((key, f"{inner}{quoted(key)}: {literal(each, comments, indent + 4)},\n") for key, each in value.items())
        ]
        return "{\n" + "".join(lines) + " " * indent + "}"
    if isinstance(value, (list, tuple)) and any(isinstance(each, (Mapping, list, tuple)) for each in value):
        return "[\n" + "".join(f"{inner}{literal(each, comments, indent + 4)},\n" for each in value) + " " * indent + "]"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(each, comments) for each in value) + "]"
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """Return a text as Python source, in double quotes unless it contains some."""
    return repr(text) if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)


class Source(str):
    """Text that :func:`literal` inserts unchanged."""

    __slots__ = ()
