"""Environments that Triton models of the Python backend bring, by their parameter ``EXECUTION_ENV_PATH``.

Such an environment is a conda environment in an archive (as conda-pack makes it), the same unpacked, or any folder with ``bin/python``. An
archive is unpacked once into the cache.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, InstallError
from hubserve.paths import cache_dir
from hubserve.registry.archives.extraction import Extraction, Member, refused, safe_parts
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.environments.launch import Launch, with_libraries
from hubserve.registry.lock import store_lock

PARAMETER = "EXECUTION_ENV_PATH"
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY"
#: an environment holds more files than a module
_LIMITS = InstallSettings(max_files=500_000, max_bytes=64 << 30)
_PROBE = "import sys, numpy; print(*sys.version_info[:2])"
_PROBE_TIMEOUT_S = 60
_OLDEST = (3, 8)
_LOCK_TIMEOUT_S = 600


def check_sent(config: Mapping[str, Any], own: Mapping[str, Any], model_folder: Path) -> None:
    """Refuse a client's configuration that would have the server run a program of the client's choice.

    Args:
        config: the client's, in the JSON form of ``inference.ModelConfig``.
        own: the configuration in the model's folder, in the same form.
        model_folder: ``<store>/<model>``.
    Raises:
        ConfigError: it names an environment that is neither the model's own nor in the model's folder.
    """
    named = _named(config)
    if named and named != _named(own) and not named.startswith(_MODEL_FOLDER):
        raise ConfigError(
            f"a client's configuration may set {PARAMETER} only to the model's own value or to a path in its folder, got '{named[:200]}'. "
            f"Put it into '{model_folder / 'config.pbtxt'}', or allow it by the server's setting 'model_uploads'."
        )


def _named(config: Mapping[str, Any]) -> str:
    return str(config.get("parameters", {}).get(PARAMETER, {}).get("string_value", ""))


def packed_launch(config: Mapping[str, Any], model_folder: Path) -> Launch | None:
    """Return how to start the instances of a model that brings its own environment.

    Args:
        config: the model's, in the JSON form of ``inference.ModelConfig``.
        model_folder: ``<store>/<model>``.
    Returns:
        None for a model without an environment.
    Raises:
        ConfigError: the environment does not exist, has no usable Python, or cannot be unpacked.
    """
    named = _named(config)
    if not named:
        return None
    where = _expanded(named, model_folder)
    if not where.exists():
        raise ConfigError(f"{PARAMETER} names '{where}', which does not exist. Correct the path in '{model_folder / 'config.pbtxt'}'.")
    root = where if where.is_dir() else _unpacked(where)
    python = next((path for path in (root / "bin" / "python", root / "bin" / "python3") if path.is_file()), None)
    if python is None:
        raise ConfigError(
            f"{PARAMETER} names '{where}', which has no bin/python. Pack it again with conda-pack, or name an environment's folder."
        )
    _check_python(python)
    return Launch(str(python), with_libraries({}, [str(root / "lib")]))


def _expanded(named: str, model_folder: Path) -> Path:
    if _MODEL_FOLDER not in named:
        return Path(named).expanduser().absolute()
    base = model_folder.resolve()
    path = Path(named.replace(_MODEL_FOLDER, str(base)))
    # only the environment's own bin/python may be a link to elsewhere
    if not Path(os.path.normpath(path)).is_relative_to(base) or not path.resolve().is_relative_to(base):
        raise ConfigError(
            f"{PARAMETER} '{named}' leaves the model's folder '{base}'. Put the environment into it, or give its absolute path."
        )
    return path


def _check_python(python: Path) -> None:
    """Refuse an interpreter that cannot run instances."""
    command = [str(python), "-I", "-c", _PROBE]
    try:
        probed = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"the Python '{python}' that {PARAMETER} brings cannot be run: {error}") from None
    if probed.returncode:
        last = (probed.stderr.strip().splitlines() or [f"it exited with status {probed.returncode}"])[-1]
        raise ConfigError(
            f"the Python '{python}' that {PARAMETER} brings cannot be used: {last}. It needs numpy; add it and pack it again."
        )
    version = tuple(int(part) for part in probed.stdout.split())
    if version < _OLDEST:
        raise ConfigError(f"{PARAMETER} brings Python {version[0]}.{version[1]} ('{python}'); it must be 3.8 or later. Pack a newer one.")


# --- unpacking ---


def _unpacked(archive: Path) -> Path:
    """Return the folder of an unpacked archive; unpack it unless that was done before."""
    status = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:24]
    unpacked = cache_dir() / "execution_environments"
    folder = unpacked / key
    if folder.is_dir():
        return folder
    with store_lock(unpacked, _LOCK_TIMEOUT_S):
        if not folder.is_dir():
            staging = unpacked / f".{key}"
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            try:
                _unpack(archive, staging)
                staging.rename(folder)
            except InstallError as error:
                raise ConfigError(f"{PARAMETER} names '{archive}', which cannot be unpacked: {error.message}") from None
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder


def _unpack(archive: Path, target: Path) -> None:
    """Unpack files, then create links; none may lead out of the folder.

    Raises:
        InstallError: the archive is damaged, or a member is refused.
    """
    extraction = Extraction(target, archive.stat().st_size, _LIMITS, lambda: None)
    links: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                if info.issym() or info.islnk():
                    links.append(info)
                elif info.isdir() or info.isreg():
                    extraction.write(Member(info.name, info.isdir(), bool(info.mode & 0o100), partial(_open, tar, info)))
                else:
                    raise refused(info.name, "it is not a file, folder or link", "Pack the environment again.")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise InstallError(f"it is damaged, or not a tar archive ({type(error).__name__}: {str(error)[:200]}). Pack it again.") from error
    for info in links:
        _link(target, info)
    for info in links:  # a link may lead through others
        path = target.joinpath(*safe_parts(info.name))
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target)):
            raise refused(info.name, "it is a link that leads out of the environment", "Pack the environment again.")


def _open(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    return tar.extractfile(info)


def _link(target: Path, info: tarfile.TarInfo) -> None:
    path = target.joinpath(*safe_parts(info.name))
    parent = Path(os.path.realpath(path.parent))
    if not parent.is_relative_to(os.path.realpath(target)) or parent != Path(os.path.realpath(target)).joinpath(
        *safe_parts(info.name)[:-1]
    ):
        raise refused(info.name, "its path passes through a link", "Pack the environment again.")
    if path.is_symlink() or path.exists():
        raise refused(info.name, "the archive has another member with that name", "Pack the environment again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if info.issym():
        path.symlink_to(info.linkname)
        return
    source = target.joinpath(*safe_parts(info.linkname))
    if source.is_symlink() or not source.is_file() or not Path(os.path.realpath(source)).is_relative_to(os.path.realpath(target)):
        raise refused(info.name, "it is a link to a missing file", "Pack the environment again.")
    os.link(source, path)
