"""``hub new``: write a working module as a starting point."""

from pathlib import Path

from hubserve.authoring.writing import class_name, fill, new_folder, place_of, quoted
from hubserve.registry.names import folder_name

#: name -> what such a module takes
TEMPLATES = {
    "json": "JSON: a method's keyword arguments",
    "tensors": "arrays: many requests are computed at once",
    "picture": "encoded pictures: many requests are computed at once",
}
_VERSION = "1.0.0"


def write_new(name: str, template: str, output_dir: Path) -> Path:
    """Write a module.

    Args:
        name: what it is called.
        template: one of :data:`TEMPLATES`.
        output_dir: its folder is made in it.
    Returns:
        The module's folder, absolute.
    Raises:
        InstallError: the name cannot be used, something of that name is there, or the folder cannot be written.
    """
    with new_folder(output_dir, name, _VERSION) as folder:
        values = {"name": name, "quoted_name": quoted(name), "folder": folder_name(name), "class_name": class_name(name)}
        fill(template, folder, values)
    return place_of(output_dir, name)
