"""Model stores: folders that hold one Triton model in each folder, ``<store>/<model>/<version>/<files>``.

What is in a store is told here; :func:`hubserve.serving.model_plans.plan_model` makes of one such folder what is to be run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ConfigError


class StoredModel(NamedTuple):
    """One folder of a store.

    Attributes:
        name: the folder's, and the model's.
        folder: absolute.
        problem: why it cannot be served whatever it holds; "" for no reason.
    """

    name: str
    folder: Path
    problem: str = ""


def store_folders(stores: Sequence[str], search_path: Sequence[Path] = ()) -> list[Path]:
    """The stores, absolute.

    Args:
        stores: as a user named them.
        search_path: where relative ones are looked up before the working directory.
    Raises:
        ConfigError: one is no folder.
    """
    return [_folder(each, search_path) for each in stores]


def _folder(store: str, search_path: Sequence[Path]) -> Path:
    tried = [base / Path(store).expanduser() for base in (*search_path, Path.cwd())]
    for each in tried:
        if each.is_dir():
            return each.absolute()
    looked_at = ", ".join(dict.fromkeys(map(str, tried)))
    raise ConfigError(f"the model store '{store}' is not a folder: looked at {looked_at}. Give the folder that holds the models' folders.")


def find_models(stores: Sequence[Path]) -> dict[str, StoredModel]:
    """The models of some stores by name, whether or not they can be served; hidden folders are none.

    Args:
        stores: as :func:`store_folders` gives them.
    Raises:
        ConfigError: a store cannot be read.
    """
    found: dict[str, StoredModel] = {}
    for store in dict.fromkeys(stores):
        for folder in _folders_of(store):
            known = found.get(folder.name)
            problem = (
                f"two stores hold a model of this name: '{known.folder}' and '{folder}'. Rename or remove one of them." if known else ""
            )
            found[folder.name] = StoredModel(folder.name, folder, problem)
    return found


def _folders_of(store: Path) -> list[Path]:
    try:
        return sorted(each for each in store.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"the model store '{store}' cannot be read: {error.strerror}") from None
