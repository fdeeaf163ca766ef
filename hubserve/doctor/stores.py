"""Checks of the model stores that a configuration names, on this machine and at other places."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.doctor.findings import ERROR, NOTE, WARNING
from hubserve.errors import HubError
from hubserve.paths import home
from hubserve.registry.configuration import install_settings
from hubserve.registry.model_store import find_models, store_folders
from hubserve.registry.remotes import is_remote, open_remote

_NOT_ASKED = "hub doctor --network CONFIG reads it"


class StoreFinding(NamedTuple):
    """Finding about a store.

    Attributes:
        level: as of a :class:`hubserve.doctor.findings.Finding`.
        reason: the problem, or the fact.
        fix: what to do.
    """

    level: str
    reason: str
    fix: str


def examine_store(store: str, search_path: Sequence[Path], *, network: bool) -> Iterator[StoreFinding]:
    """Check a model store: that it can be read, and holds models.

    Args:
        store: as the configuration names it.
        search_path: folders in which a relative one is looked up.
        network: whether to read one at another place.
    """
    try:
        if is_remote(store):
            yield from _examine_remote(store, network=network)
            return
        models = find_models(store_folders([store], search_path))
    except HubError as error:
        reason, _, fix = error.message.rpartition(". ")
        yield StoreFinding(ERROR, reason or error.message, fix if reason else "")
        return
    for each in models.values():
        if each.problem:
            yield StoreFinding(ERROR, f"the model '{each.name}' cannot be served: {each.problem}", "")
    if not models:
        yield StoreFinding(WARNING, f"the model store '{store}' holds no model", "Put models in folders of their names there")


def _examine_remote(store: str, *, network: bool) -> Iterator[StoreFinding]:
    remote = open_remote(store, install_settings(home()))
    if not network:
        yield StoreFinding(NOTE, f"{remote.shown} was not checked", _NOT_ASKED)
        return
    listing = remote.listing()
    models = {each.path.partition("/")[0] for each in listing.files if "/" in each.path}
    if listing.is_file or not models:
        yield StoreFinding(ERROR, f"'{remote.shown}' holds no folder of a model", "Give the folder that holds the models' folders")
    else:
        yield StoreFinding(NOTE, f"{remote.shown} holds {len(models)} folders of models, in {len(listing.files)} files", "")
