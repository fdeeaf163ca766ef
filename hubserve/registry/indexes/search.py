"""Looks for words in what indexes say of their modules."""

from collections.abc import Sequence
from typing import NamedTuple

from hubserve.errors import ConfigError
from hubserve.paths import home
from hubserve.registry.configuration import install_settings
from hubserve.registry.indexes.reader import open_index
from hubserve.registry.indexes.search_order import in_effect


class Hit(NamedTuple):
    """A module in an index.

    Attributes:
        name, summary: as the index has them.
        version: the newest; "" if all are withdrawn.
        where: its index.
    """

    name: str
    version: str
    summary: str
    where: str


def search(words: Sequence[str], indexes: Sequence[str] | None = None) -> list[Hit]:
    """The modules with every word in their name or summary, whatever the case; by index, then by name.

    Args:
        words: none find every module.
        indexes: where to look; the indexes in effect where None.
    Raises:
        ConfigError: there is no index to look in.
        HubError: one cannot be read.
    """
    locations = in_effect(home(), indexes)
    if not locations:
        raise ConfigError("there is no index to look in. Tell hub of one: hub index add URL_OR_FOLDER (or give --index, or set HUB_INDEX)")
    settings = install_settings(home())
    found = []
    for index in (open_index(each, settings) for each in locations):
        for name, summary in sorted(index.names().items()):
            text = f"{name} {name.replace('-', '_')} {summary.summary}".casefold()
            if all(word.casefold() in text for word in words):
                found.append(Hit(name, summary.latest, summary.summary, index.shown))
    return found
