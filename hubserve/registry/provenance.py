"""The origin of a module's files, and what its index promised about them."""

from typing import NamedTuple

from hubserve.errors import InstallError


class Origin(NamedTuple):
    """Origin of files before their installation.

    Attributes:
        shown: text for people, without credentials.
        provenance: kept in the manifest; see :class:`hubserve.registry.manifest.Manifest`.
        name, version: the module that an index promised; empty without an index.
        is_local: True for the user's own files, beside which relative model paths are looked up.
    """

    shown: str
    provenance: dict[str, str] | None = None
    name: str = ""
    version: str = ""
    is_local: bool = True

    def check_promised(self, name: str, version: str) -> None:
        """Compare the module that was found with the one that the index promised.

        Raises:
            InstallError: it is another module, or another version.
        """
        if self.name and (name, version) != (self.name, self.version):
            raise InstallError(
                f"{self.shown} should hold {self.name} {self.version}, and holds {name} {version}: its index is wrong. "
                "Ask the index's owner to run: hub index build DIR"
            )
