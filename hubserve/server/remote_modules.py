"""Modules and model stores at other places, copied into the cache before they are served."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from hubserve.errors import ConfigError, HubError
from hubserve.paths import cache_dir, home
from hubserve.registry.configuration import install_settings
from hubserve.registry.model_store import store_copy
from hubserve.registry.names import is_name
from hubserve.registry.progress import shown_by_command
from hubserve.registry.remotes import is_remote
from hubserve.registry.remotes.copies import REMOTE_CACHE, copy_to_serve
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

_MOST_NAMED = 10


def local_reference(reference: str) -> str:
    """Return the reference of the copy of a module at another place; any other reference as it is.

    Args:
        reference: ``ADDRESS`` or ``NAME=ADDRESS``, or what :func:`hubserve.registry.resolve.resolve` takes.
    Raises:
        HubError: it cannot be fetched, and there is no earlier copy.
    """
    name, equals, address = reference.partition("=")
    if not (equals and is_name(name) and is_remote(address)):
        name, address = "", reference
    if not is_remote(address):
        return reference
    copy, problem = copy_to_serve(address, cache_dir() / REMOTE_CACHE, install_settings(home()), shown_by_command())
    if problem:
        log.warning("%s; the copy that was fetched before is served", problem.rstrip("."))
    return f"{name or copy.name}={copy.path}" if name or copy.name else str(copy.path)


def refresh_stores(stores: Sequence[str], models: Collection[str] | None = None, *, must_answer: bool = False) -> None:
    """Bring the copies of remote model stores in line with the stores.

    Args:
        stores: as the user gave them; folders of this machine are left alone.
        models: those to fetch; see :meth:`hubserve.registry.remotes.copies.StoreCopy.sync`.
        must_answer: raise the error of a store that cannot be read although it was copied before, in place of a warning.
    Raises:
        ConfigError: a store cannot be read, or is refused.
    """
    failed = ""
    for store in filter(is_remote, stores):
        copy = store_copy(store, shown_by_command())
        try:
            synced = copy.sync(models)
        except (HubError, OSError) as error:
            text = error.message if isinstance(error, HubError) else str(error)
            if must_answer or not copy.is_complete:
                failed = failed or f"the model store {_quoted(text)}"
                continue
            log.warning("the model store %s; what was copied before is served", _quoted(text).rstrip("."))
            continue
        if synced.fetched or synced.removed:
            changed = [*synced.fetched, *(f"{each} (removed)" for each in synced.removed)]
            more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
            log.info("copied from a remote model store: %s%s", ", ".join(changed[:_MOST_NAMED]), more)
    if failed:
        raise ConfigError(failed)


def _quoted(text: str) -> str:
    return text.removeprefix("the model store ")


def wanted_at_start(settings: ServerSettings) -> Collection[str] | None:
    """Return the models of stores that are served from the start; None for all."""
    return {*settings.load_model} if settings.model_control == "explicit" and "*" not in settings.load_model else None


def copy_folder(address: str) -> Path:
    """Return the path of a module's copy, for the ``directory`` of a module's settings.

    Raises:
        HubError: it cannot be fetched, and there is no earlier copy.
    """
    return Path(local_reference(address).rpartition("=")[2])
