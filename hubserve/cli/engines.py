"""``hub engines``: list the installed engines and the choices for models; measure engines again."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import print_table, printable

HELP = "list the engines and the choice for each model; 'measure NAME' measures a module's engines now"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_json_option(parser)
    commands = parser.add_subparsers(dest="command", metavar="measure")
    measure = commands.add_parser("measure", help="measure the engines of a module's models now and keep the fastest", allow_abbrev=False)
    measure.add_argument("module", metavar="NAME[==VERSION]|FOLDER", help="an installed module, or any module's folder")
    measure.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    measure.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="on failure, show the traceback")


def run(args: argparse.Namespace) -> int:
    """List the engines, or measure them."""
    return _measure(args) if args.command == "measure" else _list(args)


def _list(args: argparse.Namespace) -> int:
    from hubserve.engines import ENGINES, engine_class
    from hubserve.engines.file_cache import origins
    from hubserve.engines.package_versions import package_version
    from hubserve.engines.selection import is_installed
    from hubserve.engines.selection_cache import all_kept

    installed = {name: is_installed(name) for name in ENGINES}
    engines: list[dict[str, Any]] = [
        {"engine": name, "installed": there, "version": package_version(engine_class(name).package or name) if there else ""}
        for name, there in installed.items()
    ]
    engines = [{**each, **_environment(each["engine"])} for each in engines]
    choices: list[dict[str, Any]] = [
        {
            "models": [str(each) for each in origins(kept.path)],
            "engine": kept.verdict.engine,
            "reason": kept.verdict.reason,
            "measured": kept.verdict.measured,
        }
        for kept in all_kept()
    ]
    if args.json:
        print_json({"engines": engines, "choices": choices})
        return 0
    print_table(("engine", "version"), [(each["engine"], _version_text(each)) for each in engines])
    for each in choices:
        print(f"\n{printable(_models_text(each['models']))}\n  {printable(each['reason'] + load_text(each['measured'] or {}))}")
    return 0


def _models_text(models: list[str]) -> str:
    there = [each for each in models if Path(each).exists()] or models
    return there[-1] + (f" and {len(there) - 1} more like it" if len(there) > 1 else "") if there else "?"


def load_text(measured: dict[str, Any]) -> str:
    """Return the load of the machine during the measurement, and whether it is repeated: ``; the machine was busy ...``."""
    load, again = measured.get("load") or {}, measured.get("again")
    others = load.get("others_cores")
    busy = f" ({others} cores by others)" if load.get("busy") and others is not None else ""
    return f"; {again}{busy}: to be measured once more when it is idle" if again else ""


def _environment(engine: str) -> dict[str, Any]:
    from hubserve.engines import engine_class
    from hubserve.paths import home
    from hubserve.registry.environments.engine_environment import environment_of

    found = environment_of(home(), engine)
    return {"environment": found.key if found else None, "profile": engine_class(engine).profile or None}


def _version_text(engine: dict[str, Any]) -> str:
    if engine["installed"]:
        return str(engine["version"] or "?")
    if engine["environment"]:
        return f"in the environment {engine['environment']}"
    return f"not installed; hub env build {engine['profile']}" if engine["profile"] else "not installed"


def _measure(args: argparse.Namespace) -> int:
    from hubserve.cli.progress import shown_progress
    from hubserve.server.engine_measuring import measure_engines

    with shown_progress() as progress:
        name, results = measure_engines(args.module, progress)
    if args.json:
        print_json({"module": name, "choices": results})
        return 0
    for each in results:
        busy = ((each.get("measured") or {}).get("load") or {}).get("busy")
        print(each["reason"] + ("; the machine was busy with other work, so that this may be unsure" if busy else ""))
    if any(each["engine"] != each["was"] for each in results):
        print(f"Next: hub serving reload {name} (a server that is started from now on takes it anyway)")
    return 0
