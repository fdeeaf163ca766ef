"""Makes a bundle of installed modules."""

import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.digests import sha256_of
from hubserve.registry.environments.install_options import FOLDER_NAME
from hubserve.registry.install.bundles.index import NAME, SCHEMA_VERSION, BundledEnvironment, BundledFile, BundledModule, BundleIndex
from hubserve.registry.install.outside_files import find_assets
from hubserve.registry.install.packing import pack
from hubserve.registry.progress import Progress, silent
from hubserve.registry.store import Installed, Store

SUFFIX = ".bundle.tar"


class Bundle(NamedTuple):
    """A bundle that was made.

    Attributes:
        path: the file.
        contents: what it holds.
        notes: one sentence for each thing that it could not take along.
    """

    path: Path
    contents: BundleIndex
    notes: list[str]


def make_bundle(store: Store, modules: Sequence[Installed], target: Path, progress: Progress = silent) -> Bundle:
    """Put installed modules, what they read from outside their folders, and the wheels of their environments into one file.

    Args:
        store: where they are installed.
        modules: which.
        target: the file; an existing one is replaced once the new one is whole.
        progress: told how far it is.
    Raises:
        HubError: something could not be packed or fetched; no file was made.
    """
    target = target.expanduser().absolute()
    if target.is_dir() or not target.parent.is_dir():
        why = "is a folder" if target.is_dir() else "lies in a folder that does not exist"
        raise InstallError(f"cannot write '{target}': it {why}. Name another file, or make the folder first.")
    store.tmp.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bundle-", dir=store.tmp) as scratch:
            notes: list[str] = []
            with store.exclusive(progress):  # nothing of it is removed meanwhile
                bundled = [_pack_module(each, Path(scratch), notes, progress) for each in modules]
                keys = dict.fromkeys(each.environment for each in bundled if each.environment)
                environments = [_fetch_environment(store, key, modules, Path(scratch), progress) for key in keys]
            index = BundleIndex(SCHEMA_VERSION, machine(), bundled, environments, _own_profiles(store, bundled))
            _write(target, index, Path(scratch), progress)
    except OSError as error:
        raise InstallError(f"cannot write '{target}': {error}. Mend the cause and make the bundle again.") from error
    return Bundle(target, index, notes)


def _own_profiles(store: Store, modules: Sequence[BundledModule]) -> dict[str, Any]:
    """Return the profiles of the user's own that modules run in, without the folders that only this machine has."""
    names = {each.profile for each in modules}
    folder = store.home / FOLDER_NAME
    found: dict[str, Any] = {}
    for name in sorted(names):
        if name and (folder / f"{name}.json").is_file():
            document = json.loads((folder / f"{name}.json").read_text("utf-8-sig"))
            lines = document["requirements"]
            found[name] = {**document, "requirements": [each for each in lines if not each.lstrip().startswith(("-f", "--find-links"))]}
    return found


def machine() -> str:
    """What wheels that are made here run on."""
    return f"{platform.system()} {platform.machine()}"


def _pack_module(module: Installed, scratch: Path, notes: list[str], progress: Progress) -> BundledModule:
    info = module.info
    progress(f"packing {info.name} {info.version}")
    source = module.place / module.manifest.source_folder if module.manifest.source_folder else None
    assets = find_assets(module.place, source)
    for place in assets.fixed:
        notes.append(f"{info.name} names '{place}', a place on this machine only; the bundle does not hold it")
    if assets.beside:
        notes.append(
            f"{info.name} imports {', '.join(assets.beside)} from beside the folder that it was installed from; the bundle does not hold "
            "that, and the other machine needs it on PYTHONPATH"
        )
    path = f"modules/{info.name}-{info.version}.tar.gz"
    (scratch / "modules").mkdir(exist_ok=True)
    pack(module.place, scratch / path, progress, assets=assets)
    chosen = module.manifest.chosen
    profile = chosen.profile or chosen.asked
    return BundledModule(info.name, info.version, _file(scratch, path), module.manifest.environment, profile, list(chosen.packages))


def _fetch_environment(store: Store, key: str, modules: Sequence[Installed], scratch: Path, progress: Progress) -> BundledEnvironment:
    # what fetches packages is loaded where there are some
    from hubserve.registry.environments.requirements import read_requirements
    from hubserve.registry.environments.wheels import download_wheels

    folder = scratch / "wheels" / key
    folder.mkdir(parents=True)
    brought = [read_requirements(each.place, allow_urls=True).links for each in modules if each.manifest.environment == key]
    links = tuple(dict.fromkeys(each for links in brought for each in links))
    portable = download_wheels(store.home, key, folder, links=links, progress=progress)
    wheels = [_file(scratch, each.relative_to(scratch).as_posix()) for each in sorted(folder.iterdir())]
    return BundledEnvironment(key, portable.python, wheels)


def _file(scratch: Path, path: str) -> BundledFile:
    return BundledFile(path, sha256_of(scratch / path), (scratch / path).stat().st_size)


def _write(target: Path, index: BundleIndex, scratch: Path, progress: Progress) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    total_bytes, done_bytes = sum(each.size_bytes for each in index.files()), 0
    try:
        with partial.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                encoded = index.encode()
                tar.addfile(_header(NAME, len(encoded)), io.BytesIO(encoded))
                for each in index.files():
                    with (scratch / each.path).open("rb") as source:
                        tar.addfile(_header(each.path, each.size_bytes), source)
                    done_bytes += each.size_bytes
                    progress("writing the bundle", done_bytes, total_bytes)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _header(name: str, size_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, 0o644
    return header
