"""Model stores: folders that hold one Triton model in each folder, ``<store>/<model>/<version>/<files>``.

This module lists stores; :func:`hubserve.gateway.triton_deployment.plan_model` turns one such folder into plans.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ConfigError
from hubserve.kinds.triton.config import CONFIG_NAME, MODEL_NAMES
from hubserve.paths import cache_dir, home
from hubserve.registry.configuration import install_settings
from hubserve.registry.progress import Progress, silent
from hubserve.registry.remotes import is_remote
from hubserve.registry.remotes.copies import REMOTE_CACHE, StoreCopy

#: belongs to the file system, and only root can read it
_LOST = "lost+found"
#: files that mark a folder as a model's, even where they are in the wrong place
_SIGNS = frozenset((CONFIG_NAME, *MODEL_NAMES.values(), "model.json"))


class StoredModel(NamedTuple):
    """One model's folder in a store.

    Attributes:
        name: of the folder and the model.
        folder: absolute.
        problem: why it cannot be served, independent of its content; "" if it can.
    """

    name: str
    folder: Path
    problem: str = ""


def store_folders(stores: Sequence[str], search_path: Sequence[Path] = ()) -> list[Path]:
    """Return the absolute paths of stores.

    Args:
        stores: as the user gave them; of remote ones, the copies are returned.
        search_path: folders to look up relative ones in, before the working directory.
    Raises:
        ConfigError: one is not a folder, or has not been copied yet.
    """
    return [_copied(each) if is_remote(each) else _folder(each, search_path) for each in stores]


def store_copy(store: str, progress: Progress = silent) -> StoreCopy:
    """Return the copy of a remote store in the cache; nothing is fetched yet."""
    return StoreCopy(store, cache_dir() / REMOTE_CACHE, install_settings(home()), progress)


def _copied(store: str) -> Path:
    copy = store_copy(store)
    if not copy.folder.is_dir():
        raise ConfigError("a remote model store has not been copied yet, or its copy was deleted. Start or reload the server.")
    return copy.folder


def _folder(store: str, search_path: Sequence[Path]) -> Path:
    tried = [base / Path(store).expanduser() for base in (*search_path, Path.cwd())]
    for each in tried:
        if each.is_dir():
            return each.absolute()
    looked_at = ", ".join(dict.fromkeys(map(str, tried)))
    raise ConfigError(f"the model store '{store}' is not a folder: looked at {looked_at}. Give the folder that holds the models' folders.")


def find_models(stores: Sequence[Path]) -> dict[str, StoredModel]:
    """Return the models in some stores by name, whether or not they can be served.

    Folders without any of a model's files are left out: see :func:`other_entries`.

    Args:
        stores: as :func:`store_folders` gives them.
    Raises:
        ConfigError: a store cannot be read, or is itself the folder of a model.
    """
    found: dict[str, StoredModel] = {}
    for store in dict.fromkeys(stores):
        for folder in (each for each in _entries(store) if _may_be_model(each)):
            known = found.get(folder.name)
            problem = (
                f"two stores hold a model of this name: '{known.folder}' and '{folder}'. Rename or remove one of them." if known else ""
            )
            found[folder.name] = StoredModel(folder.name, folder, problem)
    return found


def other_entries(store: Path) -> list[str]:
    """Return the names of a store's other entries: files, hidden folders and folders without any of a model's files."""
    return [each.name for each in _entries(store) if not _may_be_model(each)]


def why_no_model(stores: Sequence[Path], name: str) -> str:
    """Return why the folder of this name in some stores is not a model's; "" if there is no such folder."""
    for store in stores:
        if name in {each.name for each in _entries(store) if each.is_dir()}:
            return f"'{store / name}' holds no model: neither {CONFIG_NAME} nor a folder that is called 1"
    return ""


def _entries(store: Path) -> list[Path]:
    try:
        entries = sorted(store.iterdir())
    except OSError as error:
        raise ConfigError(f"the model store '{store}' cannot be read: {error.strerror}") from None
    if (store / CONFIG_NAME).is_file() and not any((each / CONFIG_NAME).is_file() for each in entries):
        raise ConfigError(
            f"the model store '{store}' is the folder of one model. Give the folder above it, '{store.parent}', "
            f"or serve this model alone: hub serving start -m {store}"
        )
    return entries


def _may_be_model(folder: Path) -> bool:
    """Return True if a folder may be a model's, judged by names only; incomplete models count, so that they are reported."""
    if folder.name.startswith(".") or folder.name == _LOST or not folder.is_dir():
        return False
    try:
        inside = list(folder.iterdir())
        return any(_is_sign(each) or (each.is_dir() and any(_is_sign(deeper) for deeper in each.iterdir())) for each in inside)
    except OSError:  # loading it reports why it cannot be read
        return True


def _is_sign(path: Path) -> bool:
    return path.name in _SIGNS or (path.name.isascii() and path.name.isdigit())
