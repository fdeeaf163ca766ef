"""Choose the files of a repository that make up one module: all of a module's folder, or one model among several."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from hubserve.engines.model_formats import FORMATS, KNOWN, backend_of_name, is_like_model
from hubserve.errors import InstallError
from hubserve.kinds import KINDS, get_kind
from hubserve.kinds.model_file import CARD
from hubserve.registry.archives.unpacking import ENDINGS
from hubserve.registry.remotes.base import Listing, RemoteFile

_VERSION_OF_TRITON = re.compile(r"[1-9][0-9]*/model\.[a-z0-9.]+(/.*)?")
_MOST_NAMED = 12


class Chosen(NamedTuple):
    """Files to fetch.

    Attributes:
        files: of the listing.
        path: the module's folder or the model's file, relative; "" for all.
    """

    files: Sequence[RemoteFile]
    path: str


def choose(listing: Listing, shown: str, inside: str = "") -> Chosen:
    """Choose the files of one module.

    Args:
        listing: all files of the repository or folder.
        shown: its address, for errors.
        inside: the file or folder in it that the user named; "" for none.
    Raises:
        InstallError: there is no module or model, or there are several models.
    """
    if not listing.files:
        raise InstallError(f"'{shown}' does not exist, or holds no files. Check the address.")
    if listing.is_file:
        return Chosen(listing.files, listing.files[0].path)
    paths = {each.path for each in listing.files}
    if inside in paths:
        return _one(listing.files, inside)
    below = [each for each in listing.files if not inside or each.path.startswith(inside + "/")]
    if not below:
        raise InstallError(f"'{shown}' has no '{inside[:120]}'. It has {_named(sorted(paths))}.")
    names = {each.path[len(inside) :].lstrip("/") for each in below}
    if _is_module(names):
        return Chosen(below, inside)
    models = _models(sorted(each.path for each in below))
    if len(models) == 1:
        return _one(listing.files, models[0])
    if models:
        raise InstallError(f"'{shown}' holds {len(models)} models: {_named(models)}. Name one of them, as in '{shown}//{models[0]}'.")
    archives = [each.path for each in below if each.path.lower().endswith(ENDINGS)]
    if len(archives) == 1:
        return _one(listing.files, archives[0])
    raise InstallError(f"'{shown}' holds neither a module nor a model that can be served here ({KNOWN}). It has {_named(sorted(names))}.")


def _is_module(names: set[str]) -> bool:
    main_files = {get_kind(name).main_file for name in KINDS} | {CARD} | {each.marker for each in FORMATS.values()}
    return bool(names & (main_files - {""})) or any(_VERSION_OF_TRITON.fullmatch(each) for each in names)


def _models(paths: Sequence[str]) -> list[str]:
    """Return the models among files, judged by their names; of one model in both of Paddle's forms the older."""
    markers = {each.marker for each in FORMATS.values() if each.marker}
    known = set(paths)
    found: dict[str, str] = {}
    for each in map(PurePosixPath, paths):
        if each.name in markers:
            found[str(each.parent)] = str(each.parent)
        elif _is_graph(each, known):
            key = f"{each.with_suffix('')} {backend_of_name(each)}"
            if key not in found or each.suffix == ".pdmodel":
                found[key] = str(each)
    return list(found.values())


def _is_graph(path: PurePosixPath, known: set[str]) -> bool:
    beside = {".json": ".pdiparams", ".xml": ".bin"}.get(path.suffix)
    if beside:
        return str(path.with_suffix(beside)) in known
    if path.name == "model":
        return str(path.with_name("params")) in known
    return bool(backend_of_name(path))


def _one(files: Sequence[RemoteFile], path: str) -> Chosen:
    """Choose a model with what belongs to it: files beside it, but no other models and what is named after those."""
    inner = [each for each in files if each.path.startswith(path + "/")]
    if inner:
        return Chosen(inner, path)
    own, chosen = PurePosixPath(path), []
    if not is_like_model(own):
        return Chosen([each for each in files if each.path == path], path)
    beside = [each for each in files if PurePosixPath(each.path).parent == own.parent]
    others = [each.path for each in beside if _is_graph(PurePosixPath(each.path), {one.path for one in beside})]
    for each in beside:
        name = PurePosixPath(each.path)
        is_own = each.path == path or name.stem == own.stem or name.name.startswith(own.name)
        is_others = any(each.path.startswith(other) or name.stem == PurePosixPath(other).stem for other in others if other != path)
        if is_own or not (is_others or (is_like_model(name) and name.suffix != ".json")):
            chosen.append(each)
    return Chosen(chosen, path)


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(each[:120] for each in paths[:_MOST_NAMED]) + more
