"""Small real wheels, written by tests, so that no index is needed."""

import zipfile
from importlib import metadata
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, *, needs: tuple[str, ...] = (), filling_bytes: int = 0) -> Path:
    """Write a pure wheel of a package with ``__version__``, for every Python."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in needs)
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n" + "#" * filling_bytes,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    return _pack(path, info, {key: value.encode() for key, value in files.items()})


def repack(folder: Path, name: str) -> Path:
    """Rebuild the wheel of an installed package, close enough to install it again."""
    folder.mkdir(parents=True, exist_ok=True)
    found = metadata.distribution(name)
    info = f"{name}-{found.version}.dist-info"
    wanted = [each for each in found.files or [] if ".." not in each.parts and "__pycache__" not in each.parts]
    files = {str(each): Path(str(each.locate())).read_bytes() for each in wanted if each.name not in ("RECORD", "INSTALLER", "REQUESTED")}
    tag = next(line for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")).removeprefix("Tag: ")
    return _pack(folder / f"{name}-{found.version}-{tag}.whl", info, files)


def _pack(path: Path, info: str, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return path
