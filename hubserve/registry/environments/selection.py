"""Choose where a module runs: in the Python of hub if that suffices, else on a profile or in a separate environment."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.module_scan import Place
from hubserve.registry.environments.code_requirements import missing_on_host, places_text
from hubserve.registry.environments.environment_record import all_environments
from hubserve.registry.environments.host_compat import why_not_host
from hubserve.registry.environments.host_packages import unmet_requirements
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.profile import HOST, Profile, all_profiles, get_profile, known_packages, parts_of_packages
from hubserve.registry.environments.profile_merge import is_pinned, is_unfit, merge_candidates, names_in
from hubserve.registry.environments.resolve import Resolution, resolve
from hubserve.registry.progress import Progress, silent

#: import names that every environment has
_ALWAYS = frozenset({"numpy"})


class Choice(NamedTuple):
    """Choice for a module.

    Attributes:
        resolution: the content of its environment; None for the Python of hub.
        profile: the name of the profile that it is based on; "" for none.
        why: the reason, as the end of a sentence.
        lacks: sentences about what will be missing there, and other notes.
    """

    resolution: Resolution | None
    profile: str
    why: str
    lacks: tuple[str, ...] = ()


class _Case(NamedTuple):
    home: Path
    needs: Needs
    names: Mapping[str, Place]
    options: Options
    progress: Progress

    @property
    def requested(self) -> str:
        """The profile that the user or the module asks for; "" for none."""
        return self.options.profile or self.needs.profile

    @property
    def why_requested(self) -> str:
        """The origin of that request, as the end of a sentence."""
        if self.options.profile:
            return "--environment asks for it"
        return f"the engine {self.needs.engine} needs it" if self.needs.engine else "the module asks for it"


def choose(
    home: Path,
    needs: Needs,
    names: Mapping[str, Place],
    options: Options,
    progress: Progress,
    failed: InstallError | None = None,
) -> Choice:
    """Choose where a module runs, without building anything.

    Args:
        home: the home.
        needs: its requirements.
        names: names that its code imports; see :func:`hubserve.registry.environments.code_requirements.required_names`.
        options: the user's.
        progress: called with each step.
        failed: the reason why a separate environment, chosen before, could not be built.
    Raises:
        ConfigError: the module or the user names a profile that does not exist.
        InstallError: its requirements cannot be met; the message says why.
    """
    case = _Case(home, needs, names, options, progress)
    if case.requested == HOST:
        return _on_host(case)
    if case.requested:
        profile = get_profile(home, case.requested)
        found = _on_profile(case, profile)
        lacking = [each for each in names if each not in profile.provides and not _provides(each, profile, found)]
        return Choice(found, profile.name, case.why_requested, _lacks_text(lacking, names, f"the profile '{profile.name}' does not have"))
    own = why_not_host(needs, options)
    missing = missing_on_host(names)
    if not own and not missing:
        return Choice(None, "", _host_text(needs))
    return _own_or_profile(case, own, failed) if own else _profile_or_host(case, missing)


def predict_choice(home: Path, needs: Needs, names: Mapping[str, Place], options: Options) -> Choice | None:
    """Return the probable result of :func:`choose` without resolving; None for a module with packages of its own.

    Args, Raises: as :func:`choose`.
    """
    case = _Case(home, needs, names, options, silent)
    if case.requested == HOST:
        return _on_host(case)
    if case.requested:
        return Choice(None, get_profile(home, case.requested).name, case.why_requested)
    own, missing = why_not_host(needs, options), missing_on_host(names)
    if not own and not missing:
        return Choice(None, "", _host_text(needs))
    if own:
        return None
    for profile, lacking in _better_profiles(case, names_in(needs.requirements.lines), len(missing)):
        return Choice(None, profile.name, _missing_text(missing, names), _lacks_text(lacking, names, "no profile has"))
    return Choice(None, "", "as far as it goes", _lacks_text(missing, names, "neither this Python nor a profile has"))


def _host_text(needs: Needs) -> str:
    return f"it has {'what requirements.txt and its code ask for' if needs.requirements.lines else 'what its code imports'}"


def _missing_text(missing: Sequence[str], names: Mapping[str, Place]) -> str:
    return f"its code imports {places_text(missing[:3], names)}, which this Python does not have"


# --- by request ---


def _on_host(case: _Case) -> Choice:
    lines = case.options.packages
    if lines and (refused := unmet_requirements(case.needs.requirements._replace(lines=lines))):
        raise InstallError(
            f"--with asks for packages that this Python lacks: {', '.join(refused)}. Install them, or leave out --environment {HOST}."
        )
    missing = missing_on_host(case.names)
    notes = [f"this Python does not have {each}, which requirements.txt asks for" for each in unmet_requirements(case.needs.requirements)]
    return Choice(None, "", case.why_requested, (*notes, *_lacks_text(missing, case.names, "this Python does not have")))


def _on_profile(case: _Case, profile: Profile) -> Resolution:
    """Resolve a profile together with the module's requirements."""
    failure: InstallError | None = None
    for needs in merge_candidates(profile, case.needs, list(case.names)):
        try:
            return resolve(case.home, needs, case.options, case.progress)
        except InstallError as error:
            failure = failure or error
    assert failure is not None, "there is at least one combination"
    raise failure


# --- automatic ---


def _profile_or_host(case: _Case, missing: Sequence[str]) -> Choice:
    why = _missing_text(missing, case.names)
    notes: list[str] = []
    provided = names_in(case.needs.requirements.lines)
    for profile, lacking in _better_profiles(case, provided, len(missing)):
        try:
            found = _on_profile(case, profile)
        except InstallError as error:
            notes.append(f"the profile '{profile.name}', which has more, cannot be used: {error.message}")
            continue
        return Choice(found, profile.name, why, _lacks_text(lacking, case.names, "no profile has"))
    return Choice(
        None, "", "as far as it goes", (*notes, *_lacks_text(missing, case.names, "neither this Python nor a usable profile has"))
    )


def _own_or_profile(case: _Case, own: str, failed: InstallError | None) -> Choice:
    lines = case.needs.requirements.lines
    separate, failure = _separate(case) if lines and not failed else (None, failed)
    provided = separate.packages if separate else names_in(lines)
    known = known_packages(all_profiles(case.home))
    missing = [name for name in case.names if not _is_provided(name, known, provided, assume=bool(lines))]
    # only a profile's version of a package is known to have such a part
    parts = parts_of_packages(case.home)
    missing += [name for name in case.names if name in parts and name not in missing and not is_pinned(parts[name], lines)]
    notes: list[str] = []
    for profile, lacking in _better_profiles(case, provided, len(missing) + bool(failure), assume=bool(lines)):
        try:
            found = _on_profile(case, profile)
        except InstallError as error:
            notes.append(f"the profile '{profile.name}', which has more, cannot be used: {error.message}")
            continue
        bring = "requirements.txt does not bring" if lines else "an environment of its own would not have"
        why = f"its code imports {places_text(missing[:3], case.names)}, which {bring}" if missing else own
        return Choice(found, profile.name, why, _lacks_text(lacking, case.names, "no profile has"))
    if failure:
        raise InstallError(" ".join([failure.message, *(each + "." for each in notes)]), failure.detail) from failure
    separate = separate or resolve(case.home, case.needs, case.options, case.progress)
    return Choice(separate, "", own, (*notes, *_lacks_text(missing, case.names, "neither requirements.txt nor a usable profile has")))


def _separate(case: _Case) -> tuple[Resolution | None, InstallError | None]:
    try:
        return resolve(case.home, case.needs, case.options, case.progress), None
    except InstallError as error:
        return None, error


def _better_profiles(
    case: _Case, provided: set[str] | frozenset[str], bound: int, *, assume: bool = False
) -> Iterator[tuple[Profile, list[str]]]:
    """Yield the profiles with fewer than ``bound`` missing names, and those names.

    Profiles with the fewest missing names come first; of equals, those that provide most names themselves, then those already built.
    """
    profiles = all_profiles(case.home)
    known, parts = known_packages(profiles), parts_of_packages(case.home)
    found = []
    for profile in profiles.values():
        if profile.automatic and not is_unfit(profile, case.needs.requirements.lines):
            promised = {*profile.provides, *(name for name, package in profile.fits.items() if package in provided or assume)}
            lacking = [
                name
                for name in case.names
                if name not in promised and (name in parts or not _is_provided(name, known, provided, assume=assume))
            ]
            if len(lacking) < bound:
                found.append((profile, lacking))
    built = {each.profile for each in all_environments(case.home)}
    own = {profile.name: sum(name in profile.provides for name in case.names) for profile, _ in found}
    yield from sorted(found, key=lambda each: (len(each[1]), -own[each[0].name], each[0].name not in built))


def _is_provided(name: str, known: Mapping[str, set[str]], packages: set[str] | frozenset[str], *, assume: bool) -> bool:
    """Return True if packages provide an import name, according to profiles; ``assume`` is the answer for unknown names."""
    from packaging.utils import canonicalize_name

    if name in _ALWAYS:
        return True
    if name in known:
        return bool(known[name] & packages)
    return assume or canonicalize_name(name) in packages


def _provides(name: str, profile: Profile, found: Resolution) -> bool:
    return _is_provided(
        name, known_packages({profile.name: profile}), found.packages, assume=bool(found.needs.base and found.needs.base.extended)
    )


def _lacks_text(missing: Sequence[str], names: Mapping[str, Place], sentence: str) -> tuple[str, ...]:
    return (f"{sentence} {places_text(missing, names)}, which its code imports",) if missing else ()


def choice_digest(home: Path, needs: Needs, names: Mapping[str, Place], options: Options) -> str:
    """Return a digest of everything that determines a choice, except the index's content."""
    # recorded in homes, so none of these may change, not even the wording of why_not_host
    wanted = needs.requirements
    found = [wanted.lines, wanted.constraints, wanted.options, wanted.links_digest(), needs.requires_python, needs.isolated, needs.profile]
    found += [sorted(names), missing_on_host(names), why_not_host(needs, options), options.python, options.isolated, options.profile]
    found += [profile.digest for profile in all_profiles(home).values()]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
