"""``hub env``: the environments that modules run in."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json, size_text
from hubserve.cli.tables import print_facts, print_table
from hubserve.errors import InvalidInput

HELP = "list, show or prune the environments that modules run in"

_ACTIONS = ("list", "show", "prune")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=_ACTIONS, help="list them; show one; remove those that no installed module uses")
    parser.add_argument("key", metavar="KEY", nargs="?", default="", help="for show: an environment's key, or the beginning of it")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Do what is asked."""
    from hubserve.registry.store import Store

    if bool(args.key) != (args.action == "show"):
        need = "needs a key; 'hub env list' has them" if args.action == "show" else "takes no key"
        raise InvalidInput(f"'hub env {args.action}' {need}.")
    store = Store()
    if args.action == "list":
        _list(store.home, as_json=args.json)
    elif args.action == "show":
        _show(store.home, args.key, as_json=args.json)
    else:
        _prune(store, as_json=args.json)
    return 0


def _list(home: Path, *, as_json: bool) -> None:
    from hubserve.registry.environments.record import all_environments
    from hubserve.registry.environments.usage import users

    used = users(home)
    found = all_environments(home)
    if as_json:
        print_json({"environments": [_document(each, used) for each in found]})
    elif found:
        rows = [(each.key, each.python, size_text(each.size_bytes), ", ".join(used.get(each.key, [])) or "none") for each in found]
        print_table(("KEY", "PYTHON", "SIZE", "MODULES"), rows, cut="MODULES")
    else:
        print(f"No module in {home} has an environment of its own.")


def _show(home: Path, key: str, *, as_json: bool) -> None:
    from hubserve.registry.environments.record import get_environment
    from hubserve.registry.environments.usage import users

    found, used = get_environment(home, key), users(home)
    if as_json:
        print_json(_document(found, used))
        return
    facts = {
        "Key": found.key,
        "Python": f"{found.python} ({found.base})",
        "Platform": found.platform,
        "Folder": str(found.folder),
        "Size": size_text(found.size_bytes),
        "Made": f"{found.created} with {found.tool}",
        "Modules": ", ".join(used.get(found.key, [])) or "none",
        "Packages": ", ".join(found.pins),
    }
    print_facts(facts)


def _prune(store: Any, *, as_json: bool) -> None:
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.environments.usage import prune

    with shown_progress() as progress, store.exclusive(progress):
        pruned = prune(store.home, timeout_s=install_settings(store.home).lock_timeout_s, progress=progress)
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
