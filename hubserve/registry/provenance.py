"""Where a module's files came from, and what was promised of them there."""

from typing import NamedTuple

from hubserve.errors import InstallError


class Origin(NamedTuple):
    """Where something that is about to be installed came from.

    Attributes:
        shown: for people to read, without credentials.
        provenance: what the manifest keeps; see :class:`hubserve.registry.manifest.Manifest`.
        name, version: which module an index promised; empty where nobody promised any.
        is_local: whether the user's own files are meant, beside which relative model paths are looked up.
    """

    shown: str
    provenance: dict[str, str] | None = None
    name: str = ""
    version: str = ""
    is_local: bool = True

    def check_promised(self, name: str, version: str) -> None:
        """Compare what was found inside with what the index said.

        Raises:
            InstallError: it is another module, or another version.
        """
        if self.name and (name, version) != (self.name, self.version):
            raise InstallError(
                f"{self.shown} should hold {self.name} {self.version}, and holds {name} {version}: its index is wrong about it. "
                "Tell the index's owner to run: hub index build DIR"
            )
