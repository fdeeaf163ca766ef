"""Configuration that checks look at."""

from dataclasses import dataclass
from pathlib import Path

from hubserve.doctor.findings import Finding
from hubserve.errors import ConfigError
from hubserve.registry.remotes import is_remote
from hubserve.server.deployment import reference_of
from hubserve.settings import ModuleSettings, ServerSettings


@dataclass(frozen=True)
class Config:
    """Configuration that is valid at least in part.

    Attributes:
        path: its file.
        settings: its valid settings.
        network: whether checks may connect to other machines.
    """

    path: Path
    settings: ServerSettings
    network: bool = False

    def finding(self, level: str, key: str, reason: str, fix: str = "") -> Finding:
        """Return a finding about one of its keys."""
        return Finding(level, key, reason, fix, str(self.path))

    @property
    def modules(self) -> dict[str, ModuleSettings]:
        """Settings by module name."""
        return self.settings.modules_info

    @property
    def folder(self) -> Path:
        """Folder of the file, which relative paths are based on."""
        return self.path.absolute().parent

    def unasked(self, name: str) -> str:
        """Return the address of a module at another place that checks may not connect to, or ""."""
        directory = str(self.modules[name].init_args.get("directory", ""))
        return directory if is_remote(directory) and not self.network else ""

    def reference(self, name: str) -> str:
        """Return the folder or installed module that a key of ``modules_info`` refers to.

        Raises:
            HubError: there is none, or it is at another place, and checks may not connect to it.
        """
        if address := self.unasked(name):
            raise ConfigError(f"{address} was not fetched")
        return reference_of(name, self.modules[name].init_args, [self.folder])
