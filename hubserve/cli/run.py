"""``hub run``: call a module's ``@runnable`` method in a separate process."""

import argparse
import signal
import subprocess
import sys

from hubserve.cli.failures import INTERRUPTED

HELP = "run a module once, with its own arguments"

#: all words after the module's name are passed to the module unchanged
HANDS_REST_ON = True

_GRACE_S = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "hub run [-h] [--json] [--debug] NAME[==VERSION]|FOLDER [ARGUMENT ...]"
    parser.add_argument(
        "module",
        metavar="NAME[==VERSION]|FOLDER",
        help="an installed module, or any module's folder; all further arguments are passed to it",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of Python's form; must precede the module")


def run(args: argparse.Namespace) -> int:
    """Run the module with this terminal, and return its exit status."""
    from hubserve.registry.environments.launch import launch
    from hubserve.registry.environments.serving_environment import serving_environment
    from hubserve.registry.installed import InstalledModules
    from hubserve.registry.instance_command import instance_command, instance_environment
    from hubserve.registry.resolve import resolve
    from hubserve.registry.version_dirs import DirectoryLock

    modules = InstalledModules()
    found = resolve(args.module, modules)
    lock = DirectoryLock(found.version_dir)  # until this process ends
    options = [*(["--json"] if args.json else []), "--run", str(found.version_dir), "--import-name", found.import_name]
    options += ["--kind", found.info.kind]
    launched = launch(found.info, found.version_dir, modules.home, serving_environment(modules.home, found))
    command = instance_command(*options, "--", *args.rest, python=launched.python)
    environ = {**instance_environment(modules.home, found.search_path, launched.python), **launched.environ}
    sys.stdout.flush()
    child = subprocess.Popen(command, env=environ)
    try:
        return _wait(child, found.info.name)
    finally:
        lock.release()


def _wait(child: subprocess.Popen[bytes], name: str) -> int:
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _stop(child)
        return INTERRUPTED
    if code >= 0:
        return code
    print(f"hub: '{name}' was killed by {signal.Signals(-code).name} while it ran", file=sys.stderr)
    return 128 - code


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the child with increasing force: a terminal's Ctrl-C has reached it too, but a signal to this process has not."""
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            child.wait(_GRACE_S if how != signal.SIGINT else 0.5)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.send_signal(how)
    child.wait()
