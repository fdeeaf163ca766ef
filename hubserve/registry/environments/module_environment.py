"""From a module's folder to what it runs in: read, choose, remember what was chosen, build."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.kinds.module_scan import Place
from hubserve.registry.environments.code_requirements import required_names
from hubserve.registry.environments.environment_record import Environment, all_environments, write_record
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs, read_needs
from hubserve.registry.environments.profile import get_profile, parts_of_packages
from hubserve.registry.environments.profile_environment import built_environment
from hubserve.registry.environments.provision import provide_resolved
from hubserve.registry.environments.requirement_lines import requirement
from hubserve.registry.environments.selection import Choice, choice_digest, choose, predict_choice
from hubserve.registry.instance_command import users_python_path
from hubserve.registry.progress import Progress


class ModuleEnvironment(NamedTuple):
    """The environment that a module runs in.

    Attributes:
        environment: None for the Python of hub.
        built: whether it was made just now.
        shared: whether it is a profile's own, which stays if the module's install fails.
        profile: the name of the profile that it stands on; "" for none.
        why: the reason, as the end of a sentence.
        lacks: what will be missing there, sentences.
    """

    environment: Environment | None
    built: bool
    shared: bool
    profile: str
    why: str
    lacks: tuple[str, ...]


def module_environment(
    home: Path, folder: Path, info: ModuleInfo, options: Options, beside: Sequence[Path] = (), *, timeout_s: float, progress: Progress
) -> ModuleEnvironment:
    """Choose what a module runs in, and make it unless it is there.

    Args:
        home: the home.
        folder: the module's files.
        info: its metadata.
        options: what the user says.
        beside: further folders that its code can import from.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: what it needs cannot be had; the message says why.
    """
    needs, names = _read(home, folder, info, options, beside)
    case = choice_digest(home, needs, names, options) if options.wheels is None else ""
    remembered = _remembered(home, case)
    if remembered:
        return remembered
    choice = choose(home, needs, names, options, progress)
    resolution = choice.resolution
    if resolution is None:
        return ModuleEnvironment(None, False, False, choice.profile, choice.why, choice.lacks)
    try:
        environment, built = provide_resolved(home, resolution, options, timeout_s=timeout_s, progress=progress)
    except InstallError as error:
        if choice.profile or not needs.requirements.lines:
            raise
        # packages that cannot be built with this Python may be there for that of a profile
        choice = choose(home, needs, names, options, progress, error)
        resolution = choice.resolution
        assert resolution is not None, "it is a profile's"
        environment, built = provide_resolved(home, resolution, options, timeout_s=timeout_s, progress=progress)
    assert environment is not None, "it was resolved"
    base = resolution.needs.base
    if case:
        _remember(environment, case, choice)
    return ModuleEnvironment(environment, built, bool(base and not base.extended), choice.profile, choice.why, choice.lacks)


def expected_environment(
    home: Path, folder: Path, info: ModuleInfo, options: Options, beside: Sequence[Path] = ()
) -> ModuleEnvironment | None:
    """Return what a module runs in as far as that is known without resolving or building anything; None where it is not.

    Args, Raises: as :func:`module_environment`.
    """
    needs, names = _read(home, folder, info, options, beside)
    remembered = _remembered(home, choice_digest(home, needs, names, options))
    if remembered:
        return remembered
    foreseen = predict_choice(home, needs, names, options)
    if foreseen is None or not foreseen.profile:
        return foreseen and ModuleEnvironment(None, False, False, "", foreseen.why, foreseen.lacks)
    environment = None if needs.requirements.lines else built_environment(home, get_profile(home, foreseen.profile))
    return ModuleEnvironment(environment, False, True, foreseen.profile, foreseen.why, foreseen.lacks)


def _read(home: Path, folder: Path, info: ModuleInfo, options: Options, beside: Sequence[Path]) -> tuple[Needs, dict[str, Place]]:
    # modules on PYTHONPATH can be imported everywhere
    searched = [*beside, *map(Path, users_python_path())]
    return module_needs(folder, info, options), required_names(folder, searched, parts_of_packages(home))


def module_needs(folder: Path, info: ModuleInfo, options: Options) -> Needs:
    """Return the needs of a module, with the user's additions.

    Raises:
        InstallError: something of it cannot be used.
    """
    needs = read_needs(folder, info, allow_urls=options.allow_urls)
    added = tuple(requirement(each, "--with", allow_urls=options.allow_urls) for each in options.packages)
    if not added:
        return needs
    return needs._replace(requirements=needs.requirements._replace(lines=(*needs.requirements.lines, *added)))


def _remembered(home: Path, case: str) -> ModuleEnvironment | None:
    for each in all_environments(home) if case else ():
        if case in each.choices:
            found = each.choices[case]
            return ModuleEnvironment(each, False, True, str(found["profile"]), str(found["why"]), tuple(map(str, found["lacks"])))
    return None


def _remember(environment: Environment, case: str, choice: Choice) -> None:
    found = {"profile": choice.profile, "why": choice.why, "lacks": list(choice.lacks)}
    write_record(environment._replace(choices={**environment.choices, case: found}))
