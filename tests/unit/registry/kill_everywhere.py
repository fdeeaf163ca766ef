"""Kills an install or uninstall with SIGKILL before its 1st, 2nd, 3rd, ... step on the file system, and tells what is found afterwards.

Run as a script: kill_everywhere.py SCRATCH ACTION; prints one JSON line per kill. Steps are seen through Python's audit events, so the
code that is killed is the real code, and no step is missed.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from hubserve.errors import HubError
from hubserve.registry.contents import measure
from hubserve.registry.manifest import read_manifest
from hubserve.registry.store import Store
from tests.unit.registry.toys import write_module

STEPS = {
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "open",
    "shutil.rmtree",
    "tempfile.mkdtemp",
    "os.listdir",
    "os.scandir",
}


def act(store: Store, action: str, scratch: Path) -> None:
    if action == "uninstall":
        store.uninstall("toy")
    elif action == "uninstall version":
        store.uninstall("toy", "1.0.0")
    else:
        store.install(scratch / "new", check=False)


def killed_at(step: int, store: Store, action: str, scratch: Path) -> bool:
    """Whether the child was killed before it was done."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal seen
            if event in STEPS:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        act(store, action, scratch)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def content(store: Store) -> str:
    """``old``, ``new`` or ``none``: what a reader finds, checked byte for byte against its manifest."""
    try:
        folder = store.get("toy", "1.0.0").folder
    except HubError:
        return "none"
    assert measure(folder).digest == read_manifest(folder).digest, "a mixture"
    return (folder / "which.txt").read_text()


def main(scratch: Path, action: str) -> None:
    write_module(scratch / "old", which__txt="old")
    write_module(scratch / "new", which__txt="new", more__txt="more")
    write_module(scratch / "other", "other")
    for step in range(1, 1000):
        store = Store(scratch / f"home{step}")
        if action != "first install":
            store.install(scratch / "old", check=False)
        killed = killed_at(step, store, action, scratch)
        found = content(store)
        store.install(scratch / "other", check=False)  # the next operation mends the rest
        hidden = sorted(path.name for path in store.modules.glob("*/.*"))
        report = {"found": found, "later": content(store), "left": sorted(os.listdir(store.tmp)) + hidden, "killed": killed}
        print(json.dumps(report), flush=True)
        shutil.rmtree(store.home)
        if not killed:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
