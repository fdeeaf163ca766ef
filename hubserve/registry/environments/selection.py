"""Chooses what a module runs in: the Python of hub where that suffices, else a profile or an environment of its own."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.module_scan import Place
from hubserve.registry.environments.code_requirements import host_lacks, places_text
from hubserve.registry.environments.environment_record import all_environments
from hubserve.registry.environments.host_compat import why_own
from hubserve.registry.environments.host_packages import unmet
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.profile import HOST, Profile, all_profiles, get_profile, known_packages, parts_of_packages
from hubserve.registry.environments.profile_merge import is_pinned, is_unfit, merge_candidates, names_in
from hubserve.registry.environments.resolve import Resolution, resolve
from hubserve.registry.progress import Progress, silent

#: import names that every environment has
_ALWAYS = frozenset({"numpy"})


class Choice(NamedTuple):
    """The environment that is chosen for a module.

    Attributes:
        resolution: what its environment is made of; None for the Python of hub.
        profile: the name of the profile that it stands on; "" for none.
        why: the reason, as the end of a sentence.
        lacks: what will be missing there, and what else there is to say; sentences.
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
    def asked(self) -> str:
        """Return the profile that the user or the module asks for; "" for none."""
        return self.options.profile or self.needs.profile

    @property
    def why_asked(self) -> str:
        """Return who asks for it, as the end of a sentence."""
        return f"{'--environment' if self.options.profile else 'the module'} asks for it"


def choose(
    home: Path,
    needs: Needs,
    names: Mapping[str, Place],
    options: Options,
    progress: Progress,
    failed: InstallError | None = None,
) -> Choice:
    """Choose for one module. Nothing is built.

    Args:
        home: the home.
        needs: what it says itself.
        names: what its code imports; see :func:`hubserve.registry.environments.code_requirements.needed_names`.
        options: what the user says.
        progress: called with each step.
        failed: why the environment of its requirements alone, which was chosen before, could not be built.
    Raises:
        ConfigError: it, or the user, names a profile that is not there.
        InstallError: what it needs cannot be had; the message says why.
    """
    case = _Case(home, needs, names, options, progress)
    if case.asked == HOST:
        return _on_host(case)
    if case.asked:
        profile = get_profile(home, case.asked)
        found = _on_profile(case, profile)
        lacking = [each for each in names if each not in profile.provides and not _brought(each, profile, found)]
        return Choice(found, profile.name, case.why_asked, _lacking(lacking, names, f"the profile '{profile.name}' does not have"))
    own = why_own(needs, options)
    missing = host_lacks(names)
    if not own and not missing:
        return Choice(None, "", _host_text(needs))
    return _own_or_profile(case, own, failed) if own else _profile_or_host(case, missing)


def predict_choice(home: Path, needs: Needs, names: Mapping[str, Place], options: Options) -> Choice | None:
    """Return what :func:`choose` will most likely say, without resolving anything; None for a module with packages of its own.

    Args, Raises: as :func:`choose`.
    """
    case = _Case(home, needs, names, options, silent)
    if case.asked == HOST:
        return _on_host(case)
    if case.asked:
        return Choice(None, get_profile(home, case.asked).name, case.why_asked)
    own, missing = why_own(needs, options), host_lacks(names)
    if not own and not missing:
        return Choice(None, "", _host_text(needs))
    if own:
        return None
    for profile, lacking in _better(case, names_in(needs.requirements.lines), len(missing)):
        return Choice(None, profile.name, _missing_text(missing, names), _lacking(lacking, names, "no profile has"))
    return Choice(None, "", "as far as it goes", _lacking(missing, names, "neither this Python nor a profile has"))


def _host_text(needs: Needs) -> str:
    return f"it has {'what requirements.txt and its code ask for' if needs.requirements.lines else 'what its code imports'}"


def _missing_text(missing: Sequence[str], names: Mapping[str, Place]) -> str:
    return f"its code imports {places_text(missing[:3], names)}, which this Python does not have"


# --- asked for ---


def _on_host(case: _Case) -> Choice:
    lines = case.options.packages
    if lines and (refused := unmet(case.needs.requirements._replace(lines=lines))):
        raise InstallError(
            f"--with asks for packages that this Python lacks: {', '.join(refused)}. Install them into it, or name no --environment {HOST}."
        )
    missing = host_lacks(case.names)
    notes = [f"this Python does not have {each}, for which requirements.txt asks" for each in unmet(case.needs.requirements)]
    return Choice(None, "", case.why_asked, (*notes, *_lacking(missing, case.names, "this Python does not have")))


def _on_profile(case: _Case, profile: Profile) -> Resolution:
    """Resolve a profile with what the module brings."""
    failure: InstallError | None = None
    for needs in merge_candidates(profile, case.needs, list(case.names)):
        try:
            return resolve(case.home, needs, case.options, case.progress)
        except InstallError as error:
            failure = failure or error
    assert failure is not None, "there is at least one way"
    raise failure


# --- chosen ---


def _profile_or_host(case: _Case, missing: Sequence[str]) -> Choice:
    why = _missing_text(missing, case.names)
    notes: list[str] = []
    brought = names_in(case.needs.requirements.lines)
    for profile, lacking in _better(case, brought, len(missing)):
        try:
            found = _on_profile(case, profile)
        except InstallError as error:
            notes.append(f"the profile '{profile.name}', which has more, cannot be used: {error.message}")
            continue
        return Choice(found, profile.name, why, _lacking(lacking, case.names, "no profile has"))
    return Choice(None, "", "as far as it goes", (*notes, *_lacking(missing, case.names, "neither this Python nor a usable profile has")))


def _own_or_profile(case: _Case, own: str, failed: InstallError | None) -> Choice:
    lines = case.needs.requirements.lines
    alone, failure = _alone(case) if lines and not failed else (None, failed)
    brought = alone.packages if alone else names_in(lines)
    known = known_packages(all_profiles(case.home))
    missing = [name for name in case.names if not _is_brought(name, known, brought, assume=bool(lines))]
    # which version has such a part is known of the profile's only
    parts = parts_of_packages(case.home)
    missing += [name for name in case.names if name in parts and name not in missing and not is_pinned(parts[name], lines)]
    notes: list[str] = []
    for profile, lacking in _better(case, brought, len(missing) + bool(failure), assume=bool(lines)):
        try:
            found = _on_profile(case, profile)
        except InstallError as error:
            notes.append(f"the profile '{profile.name}', which has more, cannot be used: {error.message}")
            continue
        bring = "requirements.txt does not bring" if lines else "an environment of its own would not have"
        why = f"its code imports {places_text(missing[:3], case.names)}, which {bring}" if missing else own
        return Choice(found, profile.name, why, _lacking(lacking, case.names, "no profile has"))
    if failure:
        raise InstallError(" ".join([failure.message, *(each + "." for each in notes)]), failure.detail) from failure
    alone = alone or resolve(case.home, case.needs, case.options, case.progress)
    return Choice(alone, "", own, (*notes, *_lacking(missing, case.names, "neither requirements.txt nor a usable profile has")))


def _alone(case: _Case) -> tuple[Resolution | None, InstallError | None]:
    try:
        return resolve(case.home, case.needs, case.options, case.progress), None
    except InstallError as error:
        return None, error


def _better(case: _Case, brought: set[str] | frozenset[str], bound: int, *, assume: bool = False) -> Iterator[tuple[Profile, list[str]]]:
    """Yield the profiles with which fewer than ``bound`` names are missing, and what is missing there.

    Those with the fewest come first, of equals those that have most of the names themselves, of these one that is built already.
    """
    profiles = all_profiles(case.home)
    known, parts = known_packages(profiles), parts_of_packages(case.home)
    found = []
    for profile in profiles.values():
        if profile.automatic and not is_unfit(profile, case.needs.requirements.lines):
            promised = {*profile.provides, *(name for name, package in profile.fits.items() if package in brought or assume)}
            lacking = [
                name
                for name in case.names
                if name not in promised and (name in parts or not _is_brought(name, known, brought, assume=assume))
            ]
            if len(lacking) < bound:
                found.append((profile, lacking))
    built = {each.profile for each in all_environments(case.home)}
    own = {profile.name: sum(name in profile.provides for name in case.names) for profile, _ in found}
    yield from sorted(found, key=lambda each: (len(each[1]), -own[each[0].name], each[0].name not in built))


def _is_brought(name: str, known: Mapping[str, set[str]], packages: set[str] | frozenset[str], *, assume: bool) -> bool:
    """Return whether some packages bring an import name, by what profiles say; ``assume`` answers for unknown names."""
    from packaging.utils import canonicalize_name

    if name in _ALWAYS:
        return True
    if name in known:
        return bool(known[name] & packages)
    return assume or canonicalize_name(name) in packages


def _brought(name: str, profile: Profile, found: Resolution) -> bool:
    return _is_brought(
        name, known_packages({profile.name: profile}), found.packages, assume=bool(found.needs.base and found.needs.base.extended)
    )


def _lacking(missing: Sequence[str], names: Mapping[str, Place], sentence: str) -> tuple[str, ...]:
    return (f"{sentence} {places_text(missing, names)}, which its code imports",) if missing else ()


def choice_digest(home: Path, needs: Needs, names: Mapping[str, Place], options: Options) -> str:
    """Digest of everything that a choice is made from, but for what the index holds today."""
    wanted = needs.requirements
    found = [wanted.lines, wanted.constraints, wanted.options, wanted.links_digest(), needs.requires_python, needs.isolated, needs.profile]
    found += [sorted(names), host_lacks(names), why_own(needs, options), options.python, options.isolated, options.profile]
    found += [profile.digest for profile in all_profiles(home).values()]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
