"""``hub env``: environments of modules, and environment profiles."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json, size_text
from hubserve.cli.tables import print_facts, print_table
from hubserve.errors import InvalidInput

HELP = "list, show, build, check or prune the environments that modules run in"

_ACTIONS = ("list", "show", "build", "check", "prune")
_WITH_NAME = {
    "show": "a profile's name, an environment's key, or the beginning of one",
    "build": "a profile's name",
    "check": "a profile's name",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "action",
        choices=_ACTIONS,
        nargs="?",
        default="list",
        help="list profiles and environments (default); show one; build a profile's environment in advance; check that "
        "everything that a profile provides can be imported; prune environments that no installed module uses",
    )
    parser.add_argument("name", metavar="PROFILE|KEY", nargs="?", default="", help="for show, build and check: name or key")
    parser.add_argument("--python", metavar="VERSION|PATH", default="", help="for build: use this Python instead of the preferred one")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action; return the exit status."""
    from hubserve.registry.installed import InstalledModules

    if bool(args.name) != (args.action in _WITH_NAME):
        need = f"needs {_WITH_NAME[args.action]}; 'hub env' lists them" if args.action in _WITH_NAME else "takes no name"
        raise InvalidInput(f"'hub env {args.action}' {need}.")
    if args.python and args.action != "build":
        raise InvalidInput(f"'hub env {args.action}' takes no --python. Only 'hub env build' does.")
    home = InstalledModules().home
    if args.action == "list":
        _list(home, as_json=args.json)
    elif args.action == "show":
        _show(home, args.name, as_json=args.json)
    elif args.action == "prune":
        _prune(home, as_json=args.json)
    else:
        return _build(home, args.name, args.python, as_json=args.json, anew=args.action == "check")
    return 0


def _list(home: Path, *, as_json: bool) -> None:
    from hubserve.registry.environments.environment_record import all_environments
    from hubserve.registry.environments.profile import all_profiles
    from hubserve.registry.environments.profile_environment import built_environment
    from hubserve.registry.environments.usage import profile_users, users

    used, found, profiles = users(home), all_environments(home), all_profiles(home)
    built = {name: built_environment(home, profile) for name, profile in profiles.items()}
    by_profile = profile_users(home)
    if as_json:
        listed = [_profile_document(each, built[name], by_profile.get(name, [])) for name, each in profiles.items()]
        print_json({"profiles": listed, "environments": [_document(each, used) for each in found]})
        return
    rows = [
        (name, ", ".join(each.pythons), _built_text(each, built[name]), str(len(by_profile.get(name, []))), each.description)
        for name, each in profiles.items()
    ]
    print_table(("PROFILE", "PYTHON", "BUILT", "MODULES", "DESCRIPTION"), rows, cut="DESCRIPTION")
    print()
    if found:
        keys = [
            (each.key, each.profile or "none", each.python, size_text(each.size_bytes), ", ".join(used.get(each.key, [])) or "none")
            for each in found
        ]
        print_table(("KEY", "PROFILE", "PYTHON", "SIZE", "MODULES"), keys, cut="MODULES")
    else:
        print(f"No environment was built in {home}.")


def _built_text(profile: Any, environment: Any) -> str:
    if environment:
        return f"yes, {size_text(environment.size_bytes)}"
    return f"no, {profile.size_text}" if profile.size_mb else "no"


def _show(home: Path, name: str, *, as_json: bool) -> None:
    from hubserve.registry.environments.profile import all_profiles

    profile = all_profiles(home).get(name)
    if profile:
        _show_profile(home, profile, as_json=as_json)
    else:
        _show_environment(home, name, as_json=as_json)


def _show_profile(home: Path, profile: Any, *, as_json: bool) -> None:
    from hubserve.registry.environments.profile_environment import built_environment
    from hubserve.registry.environments.usage import profile_users

    environment, used = built_environment(home, profile), profile_users(home).get(profile.name, [])
    if as_json:
        print_json(_profile_document(profile, environment, used))
        return
    print_facts(
        {
            "Profile": profile.name,
            "Description": profile.description,
            "File": profile.path,
            "Pythons": ", ".join(profile.pythons),
            "Chosen automatically": "yes" if profile.automatic else "no, only by name",
            "Built": f"{environment.key} ({size_text(environment.size_bytes)})" if environment else _built_text(profile, None),
            "Fails to import": "; ".join(f"{key}: {value}" for key, value in environment.broken.items()) if environment else "",
            "Modules": ", ".join(used) or "none",
            "Imports": ", ".join(sorted(profile.provides, key=str.lower)),
            "Requirements": ", ".join(profile.requirements),
            "Variables": ", ".join(f"{key}={value}" for key, value in profile.environ.items()),
        }
    )


def _show_environment(home: Path, key: str, *, as_json: bool) -> None:
    from hubserve.registry.environments.environment_record import get_environment
    from hubserve.registry.environments.usage import users

    found, used = get_environment(home, key), users(home)
    if as_json:
        print_json(_document(found, used))
        return
    facts = {
        "Key": found.key,
        "Profile": found.profile,
        "Python": f"{found.python} ({found.base})",
        "Platform": found.platform,
        "Folder": str(found.folder),
        "Size": size_text(found.size_bytes),
        "Made": f"{found.created} with {found.tool}",
        "Modules": ", ".join(used.get(found.key, [])) or "none",
        "Variables": ", ".join(f"{key}={value}" for key, value in found.environ.items()),
        "Packages": ", ".join(found.pins),
    }
    print_facts(facts)


def _build(home: Path, name: str, python: str, *, as_json: bool, anew: bool) -> int:
    """Build a profile's environment and print the names that cannot be imported; ``anew``: also import them again if it exists."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.environments.import_probe import failed_imports
    from hubserve.registry.environments.profile import get_profile
    from hubserve.registry.environments.profile_environment import profile_environment

    profile, timeout_s = get_profile(home, name), install_settings(home).lock_timeout_s
    with shown_progress() as progress:
        environment, built = profile_environment(home, name, python=python, timeout_s=timeout_s, progress=progress)
        assert environment is not None, "a profile always has one"
        broken = dict(environment.broken)
        if anew and not built:
            progress("importing its packages once")
            broken = failed_imports(home, environment, list(profile.provides))
    if as_json:
        print_json({**_document(environment, {}), "built": built, "broken": broken})
        return int(bool(broken))
    verb = "Built" if built else "Already built:"
    print(f"{verb} {environment.key}, {size_text(environment.size_bytes)}, with Python {environment.python}, in {environment.folder}")
    for each, fault in broken.items():
        print(f"Fails: import {each}: {fault}")
    if not broken:
        print(f"All {len(profile.provides)} names that the profile '{name}' provides can be imported.")
    return int(bool(broken))


def _prune(home: Path, *, as_json: bool) -> None:
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.environments.usage import prune
    from hubserve.registry.recovery import exclusive

    with shown_progress() as progress, exclusive(home, progress):
        pruned = prune(home, timeout_s=install_settings(home).lock_timeout_s, progress=progress)
    if as_json:
        print_json({"removed": pruned.removed, "freed_bytes": sum(pruned.removed.values()), "running": pruned.running})
        return
    for key, size_bytes in pruned.removed.items():
        print(f"Removed {key} ({size_text(size_bytes)} freed)")
    for key in pruned.running:
        print(f"Kept {key}: no installed module uses it, but a process still runs in it")
    if not pruned.removed and not pruned.running:
        print("Nothing to remove: every environment is used.")


def _document(environment: Any, used: dict[str, list[str]]) -> dict[str, Any]:
    return {**environment.to_json(), "folder": str(environment.folder), "modules": used.get(environment.key, [])}


def _profile_document(profile: Any, environment: Any, used: list[str]) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(profile)
    return {
        **found,
        "built": environment.key if environment else None,
        "size_bytes": environment.size_bytes if environment else None,
        "broken": dict(environment.broken) if environment else {},
        "modules": used,
    }
