"""Check which names can be imported in an environment, in a separate process like an instance's."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubserve.registry.environments.environment_record import Environment
from hubserve.registry.environments.launch import environment_launch
from hubserve.registry.instance_command import instance_environment

_TIMEOUT_S = 900
_MARK = "hub-import:"
_CODE = f"""
import importlib, sys
try:
    from hubserve.kinds.torchvision_operators import declare_missing
    declare_missing()
except ImportError:  # without numpy there is no torchvision either
    pass

def load(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, last = name.rpartition(".")
        if not parent or not hasattr(load(parent), last):
            raise
        return getattr(load(parent), last)

for name in sys.argv[1:]:
    sys.__stdout__.write("\\n{_MARK}begin:%s\\n" % name)
    sys.__stdout__.flush()
    try:
        load(name)
        fault = ""
    except BaseException as error:
        fault = "%s: %s" % (type(error).__name__, error)
    sys.__stdout__.write("\\n{_MARK}end:%s:%s\\n" % (name, " ".join(fault.split())[:300]))
    sys.__stdout__.flush()
"""


def failed_imports(home: Path, environment: Environment, names: Sequence[str]) -> dict[str, str]:
    """Import names one after the other; return those that fail, each with the reason.

    A name whose import ends the process counts as failed, and the remaining ones are imported in a new process.

    Args:
        home: the home.
        environment: the environment to check.
        names: modules, and attributes of modules, such as ``cv2.AKAZE_create``.
    """
    failed: dict[str, str] = {}
    left = list(names)
    while left:
        tried, begun, how = _run(home, environment, left)
        failed.update({name: fault for name, fault in tried.items() if fault})
        left = [each for each in left if each not in tried]
        if not left:
            break
        culprit = begun if begun in left else left[0]
        failed[culprit] = f"its import {how}"
        left.remove(culprit)
    return failed


def _run(home: Path, environment: Environment, names: Sequence[str]) -> tuple[dict[str, str], str, str]:
    """Return the imported names with their faults, the name that was begun last, and how the process ended."""
    launched = environment_launch(environment)
    command = [str(environment.executable), "-W", "ignore", "-c", _CODE, *names]
    environ = {**instance_environment(home, [], launched.python), **launched.environ}
    try:
        done = subprocess.run(command, env=environ, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
        output, how = done.stdout, f"ended the process with status {done.returncode}"
        if done.returncode < 0:
            how = f"ended the process by {signal.Signals(-done.returncode).name}"
    except subprocess.TimeoutExpired as error:
        output, how = error.stdout or b"", f"took more than {_TIMEOUT_S} s"
    tried: dict[str, str] = {}
    begun = ""
    for kind, name, fault in _marked(output.decode("utf-8", "replace")):
        if kind == "begin":
            begun = name
        else:
            tried[name] = fault
    return tried, begun, how


def _marked(output: str) -> Iterator[tuple[str, str, str]]:
    for line in output.splitlines():
        if line.startswith(_MARK):
            kind, _, rest = line.removeprefix(_MARK).partition(":")
            name, _, fault = rest.partition(":")
            yield kind, name, fault
