"""Environment of a module: read its requirements, choose where it runs, build that, and record the choice."""

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
    """Environment chosen for a module.

    Attributes:
        environment: None for the Python of hub.
        built: whether it was built now.
        shared: whether it is a profile's own environment, which remains if the module's install fails.
        profile: the name of the profile that it is based on; "" for none.
        why: the reason, as the end of a sentence.
        lacks: sentences about what will be missing there.
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
    """Choose the environment that a module runs in, and build it unless it exists.

    Args:
        home: the home.
        folder: the module's files.
        info: its metadata.
        options: the user's.
        beside: further folders that its code can import from.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
    Raises:
        ConfigError: the profile does not exist.
        InstallError: its requirements cannot be met; the message says why.
    """
    needs, names = _read(home, folder, info, options, beside)
    case = choice_digest(home, needs, names, options) if options.wheels is None else ""
    recorded = _recorded(home, case)
    if recorded:
        return recorded
    choice = choose(home, needs, names, options, progress)
    resolution = choice.resolution
    if resolution is None:
        return ModuleEnvironment(None, False, False, choice.profile, choice.why, choice.lacks)
    try:
        environment, built = provide_resolved(home, resolution, options, timeout_s=timeout_s, progress=progress)
    except InstallError as error:
        if choice.profile or not needs.requirements.lines:
            raise
        # packages that cannot be built with this Python may have wheels for a profile's
        choice = choose(home, needs, names, options, progress, error)
        resolution = choice.resolution
        assert resolution is not None, "a profile always has one"
        environment, built = provide_resolved(home, resolution, options, timeout_s=timeout_s, progress=progress)
    assert environment is not None, "a resolution always gives one"
    base = resolution.needs.base
    if case:
        _record(environment, case, choice)
    return ModuleEnvironment(environment, built, bool(base and not base.extended), choice.profile, choice.why, choice.lacks)


def expected_environment(
    home: Path, folder: Path, info: ModuleInfo, options: Options, beside: Sequence[Path] = ()
) -> ModuleEnvironment | None:
    """Return the environment that a module will probably get, without resolving or building; None if that is unknown.

    Args, Raises: as :func:`module_environment`.
    """
    needs, names = _read(home, folder, info, options, beside)
    recorded = _recorded(home, choice_digest(home, needs, names, options))
    if recorded:
        return recorded
    expected = predict_choice(home, needs, names, options)
    if expected is None or not expected.profile:
        return expected and ModuleEnvironment(None, False, False, "", expected.why, expected.lacks)
    environment = None if needs.requirements.lines else built_environment(home, get_profile(home, expected.profile))
    return ModuleEnvironment(environment, False, True, expected.profile, expected.why, expected.lacks)


def _read(home: Path, folder: Path, info: ModuleInfo, options: Options, beside: Sequence[Path]) -> tuple[Needs, dict[str, Place]]:
    # modules on PYTHONPATH can be imported everywhere
    searched = [*beside, *map(Path, users_python_path())]
    return module_needs(folder, info, options), required_names(folder, searched, parts_of_packages(home))


def module_needs(folder: Path, info: ModuleInfo, options: Options) -> Needs:
    """Return the requirements of a module with the user's additions.

    Raises:
        InstallError: a requirement is invalid.
    """
    needs = read_needs(folder, info, allow_urls=options.allow_urls)
    added = tuple(requirement(each, "--with", allow_urls=options.allow_urls) for each in options.packages)
    if not added:
        return needs
    return needs._replace(requirements=needs.requirements._replace(lines=(*needs.requirements.lines, *added)))


def _recorded(home: Path, case: str) -> ModuleEnvironment | None:
    for each in all_environments(home) if case else ():
        if case in each.choices:
            found = each.choices[case]
            return ModuleEnvironment(each, False, True, str(found["profile"]), str(found["why"]), tuple(map(str, found["lacks"])))
    return None


def _record(environment: Environment, case: str, choice: Choice) -> None:
    found = {"profile": choice.profile, "why": choice.why, "lacks": list(choice.lacks)}
    write_record(environment._replace(choices={**environment.choices, case: found}))
