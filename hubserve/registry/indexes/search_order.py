"""The indexes to search, in order: configured, or given by ``$HUB_INDEX`` or on the command line."""

import os
from collections.abc import Sequence
from pathlib import Path

from hubserve.errors import ConfigError
from hubserve.registry.configuration import install_settings, read_list, write_list
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.downloads.canonical import canonical_location
from hubserve.registry.indexes.reader import open_index

#: addresses and folders, separated by spaces; if it is set, the configured ones are not searched
VARIABLE = "HUB_INDEX"
_KEY = "indexes"


def configured(home: Path) -> list[str]:
    """Return the configured indexes, in order.

    Raises:
        ConfigError: the settings are damaged.
    """
    return [row["url"] for row in read_list(home, _KEY) if row.get("url")]


def in_effect(home: Path, given: Sequence[str] | None = None) -> list[str]:
    """Return the indexes to search: those given on the command line, else those in ``$HUB_INDEX``, else the configured ones.

    Raises:
        ConfigError: the settings are damaged.
    """
    return list(given or os.environ.get(VARIABLE, "").split() or configured(home))


def add(home: Path, location: str, *, first: bool = False, check: bool = True) -> str:
    """Add an index after the others, or before them.

    Returns:
        Its address, or its folder, absolute.
    Raises:
        ConfigError: it is configured already.
        HubError: ``check`` is on, and there is no index at that location.
    """
    index = open_index(location, install_settings(home))
    if check:
        index.names()
    present = configured(home)
    if canonical_location(index.location) in map(canonical_location, present):
        raise ConfigError(f"'{index.shown}' is configured already; 'hub index list' shows them. To move it, remove it first.")
    _write(home, [index.location, *present] if first else [*present, index.location])
    return index.shown


def remove(home: Path, location: str) -> str:
    """Remove an index; its address may be given as it is listed, without credentials.

    Raises:
        ConfigError: it is not configured.
    """
    present = configured(home)
    wanted = location if "://" in location else str(Path(location).expanduser().absolute())
    found = next((each for each in present if canonical_location(wanted) == canonical_location(each)), None)
    if found is None:
        listed = f" Configured: {', '.join(map(shown, present))}." if present else " None is configured."
        raise ConfigError(f"'{shown(wanted)}' is not a configured index.{listed}")
    _write(home, [each for each in present if each != found])
    return shown(found)


def shown(location: str) -> str:
    """Return an index's location without credentials."""
    return without_secrets(location).rstrip("/") if "://" in location else location


def _write(home: Path, locations: list[str]) -> None:
    write_list(home, _KEY, [{"url": each} for each in locations])
