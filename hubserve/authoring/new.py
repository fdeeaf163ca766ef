"""``hub new``: write a working module from a template; the folder appears complete or not at all, and never replaces an existing one."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template

from hubserve.authoring.python_source import class_name, quoted
from hubserve.errors import InstallError
from hubserve.registry.names import check_name, check_version, folder_name

#: name -> input of such a module
TEMPLATES = {
    "json": "JSON: a method's keyword arguments",
    "tensors": "arrays: many requests are computed at once",
    "picture": "encoded pictures: many requests are computed at once",
}
_VERSION = "1.0.0"
_TEMPLATES_DIR = Path(__file__).with_name("templates")
#: a module is imported under its name, and these names are in use
_RESERVED = frozenset({*sys.stdlib_module_names, "hubserve", "numpy", "paddlehub", "paddle", "cv2", "onnxruntime", "openvino"})


def write_new(name: str, template: str, output_dir: Path) -> Path:
    """Write a module.

    Args:
        name: its name.
        template: one of :data:`TEMPLATES`.
        output_dir: parent of its folder.
    Returns:
        The module's folder, absolute.
    Raises:
        InstallError: the name is invalid, the folder exists, or it cannot be written.
    """
    with new_folder(output_dir, name, _VERSION) as folder:
        values = {"name": name, "quoted_name": quoted(name), "folder": folder_name(name), "class_name": class_name(name)}
        fill(template, folder, values)
    return module_dir(output_dir, name)


@contextmanager
def new_folder(output_dir: Path, name: str, version: str) -> Iterator[Path]:
    """Yield a folder to write a module into; it becomes ``output_dir/NAME`` on success, and is deleted otherwise.

    Raises:
        InstallError: the name or version is invalid, the folder exists, or it cannot be written.
    """
    check_name(name)
    check_version(version)
    if folder_name(name) in _RESERVED:
        raise InstallError(f"a module cannot be named '{name}', because Python has a package of that name. Choose another name.")
    target = module_dir(output_dir, name)
    if target.exists() or target.is_symlink():
        raise InstallError(f"'{target}' already exists and is not overwritten. Choose another name or -o FOLDER, or remove it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise InstallError(f"cannot write into '{target.parent}': {error.strerror}. Choose another folder with -o FOLDER.") from error
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


def module_dir(output_dir: Path, name: str) -> Path:
    """Return the absolute path of the folder that :func:`new_folder` creates."""
    return output_dir.expanduser().absolute() / folder_name(name)


def fill(template: str, target: Path, values: Mapping[str, str]) -> None:
    """Write a template's files into a folder, with ``$key`` replaced in texts and ``NAME`` in file names."""
    for path in sorted((_TEMPLATES_DIR / template).glob("*.tmpl")):
        file_name = path.name.removesuffix(".tmpl").replace("NAME", values["folder"])
        (target / file_name).write_text(Template(path.read_text("utf-8")).substitute(values), encoding="utf-8")
