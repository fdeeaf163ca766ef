"""Environment profiles: named sets of packages that work together, one JSON file each.

hubserve's own are in ``profiles/`` beside this file, a user's in ``$HUB_HOME/profiles/``; a user's profile replaces hubserve's of the same
name. Profiles are independent of modules: engines can name them, too (:mod:`hubserve.registry.environments.profile_environment`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec

from hubserve.errors import ConfigError
from hubserve.registry.environments.install_options import AUTO, PROFILES_FOLDER
from hubserve.registry.environments.module_requirements import Needs, ProfileSettings, variable_problem
from hubserve.registry.environments.requirements import Requirements, parse_requirements

OWN_FOLDER = Path(__file__).resolve().parent / "profiles"
#: name that selects this process's Python in place of a profile
HOST = "host"
SCHEMA_VERSION = 1
_PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Environment profile.

    Attributes:
        description: one line about it.
        pythons: supported versions, the preferred one first: ``3.8``.
        requirements: its packages, as lines of a requirements file; may contain index options, and ``--find-links FOLDER`` relative to the
            file.
        provides: import name -> the package that has it, or several, the one in ``requirements`` first. A dotted name, such as
            ``paddle.fluid``, exists only in some versions of its package.
        constraints: versions of packages that modules add to it.
        fits: parts of packages that modules add and that only the versions in ``constraints`` have: ``paddleocr.ppocr`` -> its package.
        unfit: packages that modules require and that do not run with it; a module that pins one of them gets another profile.
        environ: environment variables of the processes that run in it.
        library_path: folders put before ``LD_LIBRARY_PATH``, relative to its ``site-packages``.
        no_deps: packages, pinned, that are installed without what they require, because something else in the profile has it.
        size_mb: approximate size on disk, shown before it is built; 0 if unknown.
        size_cpu_mb: the same where the index has builds for CPUs (``torch==2.13.0+cpu``); 0 if there are none.
        order: profiles with lower numbers are tried first when one is chosen for a module.
        automatic: whether ``hub install`` may choose it automatically.
        schema_version: of the file.
        name: the file's, without ``.json``.
        path: the file.
    """

    description: str
    pythons: list[str]
    requirements: list[str]
    provides: dict[str, str | list[str]]
    constraints: list[str] = []
    fits: dict[str, str] = {}
    unfit: list[str] = []
    environ: dict[str, str] = {}
    library_path: list[str] = []
    no_deps: list[str] = []
    size_mb: int = 0
    size_cpu_mb: int = 0
    order: int = 50
    automatic: bool = True
    schema_version: int = SCHEMA_VERSION
    name: str = ""
    path: str = ""

    @property
    def wanted(self) -> Requirements:
        """Its packages, parsed like a module's; a profile may name addresses."""
        path = Path(self.path)
        return parse_requirements(self.requirements, self.constraints, path.parent, f"'{path}'")

    def packages_of(self, name: str) -> list[str]:
        """Return the packages that have an import name, normalised; empty if the profile does not provide the name."""
        from packaging.utils import canonicalize_name

        found = self.provides.get(name, [])
        return [canonicalize_name(each) for each in ([found] if isinstance(found, str) else found)]

    @property
    def size_text(self) -> str:
        """Approximate size on disk, for people: ``about 5.7 GB, or 1.0 GB with packages for CPUs``."""
        text = f"about {self.size_mb / 1000:.1f} GB"
        return f"{text}, or {self.size_cpu_mb / 1000:.1f} GB with packages for CPUs" if self.size_cpu_mb else text

    @property
    def needs(self) -> Needs:
        """Requirements of its environment."""
        return Needs(self.wanted, isolated=True, base=self.base)

    @property
    def base(self) -> ProfileSettings:
        """Settings other than its packages."""
        wanted = self.wanted
        allow_urls = any("://" in each for each in (*wanted.lines, *wanted.options))
        return ProfileSettings(
            self.name,
            tuple(self.pythons),
            self.environ,
            tuple(self.library_path),
            self.size_mb,
            allow_urls,
            imports=tuple(self.provides),
            no_deps=tuple(self.no_deps),
            size_cpu_mb=self.size_cpu_mb,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of everything that determines its environment."""
        return hashlib.sha256(json.dumps(msgspec.to_builtins(self)).encode() + self.wanted.links_digest().encode()).hexdigest()


def all_profiles(home: Path) -> dict[str, Profile]:
    """Return every profile by name, in the order in which they are tried.

    Raises:
        ConfigError: a file is invalid; the message names it and the fault.
    """
    files: dict[str, Path] = {}
    for folder in (OWN_FOLDER, home / PROFILES_FOLDER):
        files.update({each.stem: each for each in sorted(folder.glob("*.json"))})
    found = [read_profile(path) for path in files.values()]
    return {each.name: each for each in sorted(found, key=lambda each: (each.order, each.name))}


def get_profile(home: Path, name: str) -> Profile:
    """Return the profile with a name.

    Raises:
        ConfigError: the profile does not exist, or its file is invalid.
    """
    profiles = all_profiles(home)
    if name in profiles:
        return profiles[name]
    near = get_close_matches(name, list(profiles), 1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    raise ConfigError(
        f"the environment profile '{name[:60]}' does not exist{hint} Available are: {', '.join(profiles)}, and {HOST} "
        f"for the Python of hub itself. 'hub env' lists them; your own are files in {home / PROFILES_FOLDER}."
    )


def read_profile(path: Path) -> Profile:
    """Read and check a profile's file.

    Raises:
        ConfigError: the file cannot be read, or its content is invalid.
    """
    try:
        found = msgspec.convert(json.loads(path.read_text("utf-8-sig")), Profile)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the environment profile '{path}' cannot be used: {error}. Correct the file, or remove it.") from None
    _check(found, path)
    profile = msgspec.structs.replace(found, name=path.stem, path=str(path.resolve()))
    _check_lines(profile)
    return profile


def _check(profile: Profile, path: Path) -> None:
    problem = ""
    if profile.schema_version > SCHEMA_VERSION:
        problem = f"its schema_version is {profile.schema_version}, and this hubserve reads {SCHEMA_VERSION}; upgrade hubserve"
    elif path.stem in (HOST, AUTO):
        problem = f"the names {HOST} and {AUTO} are reserved; rename the file"
    elif not profile.pythons or not all(each.count(".") == 1 and each.replace(".", "").isdigit() for each in profile.pythons):
        problem = 'pythons must be a list like ["3.8", "3.9"]'
    elif unpinned := next((each for each in profile.no_deps if not _PIN.fullmatch(each)), ""):
        problem = f"no_deps has {unpinned[:60]!r}, which is not a pin like tf-keras==2.21.0"
    elif not profile.requirements:
        problem = "requirements is empty; name at least one package"
    else:
        wrong = next((f"{name}: it {fault}" for name in profile.environ if (fault := variable_problem(name))), "")
        problem = f"environ sets {wrong}" if wrong else ""
    if problem:
        raise ConfigError(f"the environment profile '{path}' cannot be used: {problem.rstrip('.')}. Correct the file, or remove it.")


def _check_lines(profile: Profile) -> None:
    try:
        wanted = profile.wanted
        parse_requirements(profile.unfit, (), Path(profile.path).parent, f"'{profile.path}'")
    except Exception as error:
        text = getattr(error, "message", str(error))
        raise ConfigError(f"the environment profile '{profile.name}' cannot be used: {text}") from None
    assert wanted.lines, "checked before"


def known_packages(profiles: Mapping[str, Profile]) -> dict[str, set[str]]:
    """Return import name -> normalised names of the packages that have it, from all profiles."""
    found: dict[str, set[str]] = {}
    for profile in profiles.values():
        for name in profile.provides:
            found.setdefault(name, set()).update(profile.packages_of(name))
    return found


def parts_of_packages(home: Path) -> dict[str, str]:
    """Return the parts of packages that only some versions have and some profile fits: ``paddleocr.ppocr`` -> its package, normalised."""
    from packaging.utils import canonicalize_name

    return {name: canonicalize_name(package) for each in all_profiles(home).values() for name, package in each.fits.items()}
