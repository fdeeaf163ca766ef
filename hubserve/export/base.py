"""The interface of targets, and the files that they write."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hubserve.export.places import CONTAINER, Places
from hubserve.export.plan import ExportPlan


class Written(NamedTuple):
    """Files of an export, and the commands to run next.

    Attributes:
        texts: path below the folder -> content.
        copies: functions that write further files into the folder.
        executable: paths of ``texts`` that can be run.
        next_steps: commands to run in the folder, each with a comment.
    """

    texts: dict[str, str]
    copies: Sequence[Callable[[Path], None]] = ()
    executable: Sequence[str] = ()
    next_steps: Sequence[tuple[str, str]] = ()


class Target(ABC):
    """Form of an export."""

    summary: str
    places: Places = CONTAINER
    #: address to listen on; "" for that of the configuration
    host = "0.0.0.0"  # noqa: S104 - a container has its own network

    @abstractmethod
    def render(self, plan: ExportPlan) -> Written:
        """Return the files for a plan."""


def yaml_text(*documents: Any) -> str:
    """Return documents as YAML, in the order of their keys, with ``|`` for texts of several lines."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, explicit_start=len(documents) > 1))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no type information
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - equal parts are written twice, which people read more easily
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
