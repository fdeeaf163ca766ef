"""Folders at other places: buckets, web servers, SSH servers, Hugging Face, ModelScope. One file and one row for each kind.

:func:`open_remote` lists what an address holds and fetches single files; :class:`hubserve.registry.remotes.mirror.Mirror` keeps a copy on
this machine in line with it.
"""

from importlib import import_module

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.remotes.base import Remote

__all__ = ["REMOTES", "Remote", "extra_of", "is_remote", "open_remote"]

_OBJECTS = "hubserve.registry.remotes.object_store:ObjectStore"
_HTTP = "hubserve.registry.remotes.http_folder:HttpFolder"

#: scheme of the address -> "package.module:Class"
REMOTES = {
    **dict.fromkeys(("s3", "gs", "gcs", "as", "az", "abfs", "abfss", "oss", "ssh", "sftp"), _OBJECTS),
    **dict.fromkeys(("http", "https"), _HTTP),
    "hf": "hubserve.registry.remotes.hugging_face:HuggingFace",
    "modelscope": "hubserve.registry.remotes.modelscope:ModelScope",
}
#: scheme -> the extra of hubserve that installs what reads it; the others need none
_EXTRAS = {
    "s3": "s3",
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("as", "az", "abfs", "abfss"), "azure"),
    "oss": "oss",
    **dict.fromkeys(("ssh", "sftp"), "ssh"),
    "hf": "hf",
    "modelscope": "modelscope",
}
#: their addresses have no ``//``
_HUBS = ("hf", "modelscope")


def is_remote(text: str) -> bool:
    """Return True for an address of a scheme in :data:`REMOTES`."""
    scheme, colon, rest = text.partition(":")
    return bool(colon) and scheme in REMOTES and (rest.startswith("//") or scheme in _HUBS)


def extra_of(text: str) -> str:
    """Return the extra of hubserve that an address needs, or ""."""
    return _EXTRAS.get(text.partition(":")[0], "")


def open_remote(text: str, settings: InstallSettings) -> Remote:
    """Return the folder at an address; nothing is sent yet.

    Raises:
        InstallError: the address is invalid, or holds credentials.
        MissingDependency: a package for it is not installed; the message names the extra.
    """
    if any(each.isspace() or not each.isprintable() for each in text):
        raise InstallError("the address holds spaces or control characters. Write a space in an address as %20.")
    module, _, cls = REMOTES[text.partition(":")[0]].partition(":")
    remote: Remote = getattr(import_module(module), cls)(text, settings)
    return remote
