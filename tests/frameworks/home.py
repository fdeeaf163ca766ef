"""The home that keeps environments of frameworks, and the models made in them, from one run to the next."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from hubserve.errors import HubError
from hubserve.registry.environments.environment_record import Environment, get_environment
from hubserve.registry.environments.launch import environment_launch
from hubserve.registry.environments.profile import get_profile
from hubserve.registry.environments.profile_environment import built_environment, profile_environment
from hubserve.registry.installed import InstalledModules
from tests.conftest import hub

FOLDER = Path(__file__).resolve().parent
MAKERS = FOLDER / "makers"
ANSWERS = FOLDER / "answers"
#: frameworks with an environment profile of their own
PROFILES = ("megengine", "oneflow", "tensorflow", "pytorch")
#: begins the reason of each test that was left out for want of an environment
MISSING = "no environment of"
BUILD_TIMEOUT_S = 3600  # another worker may be downloading gigabytes
SCRIPT_TIMEOUT_S = 600


def kept_home() -> Path:
    """Return the home: ``HUBSERVE_FRAMEWORKS_HOME``, by default a folder in the user's cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HUBSERVE_FRAMEWORKS_HOME") or Path(cache_home, "hubserve-frameworks")).expanduser().resolve()


class FrameworkHome:
    """Environments of profiles, models made in them, and what frameworks themselves answer.

    Workers of pytest-xdist share it: the registry locks environments, a lock file each model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provide = cache(self._provide)

    def environment(self, profile: str) -> Environment:
        """Return the environment of a profile, built if need be; skip the test if it cannot be had."""
        found, reason = self.provide(profile)
        if found is None:
            pytest.skip(f"{MISSING} '{profile}': {reason}")
        return found

    def _provide(self, profile: str) -> tuple[Environment | None, str]:
        try:
            found = built_environment(self.folder, get_profile(self.folder, profile))
            return found or profile_environment(self.folder, profile, timeout_s=BUILD_TIMEOUT_S).environment, "this Python would serve"
        except (HubError, OSError) as error:
            return None, " ".join(str(error).split())

    def installed(self, folder: Path) -> Environment:
        """Return the environment of a module, which is installed if need be; skip the test if it cannot be had.

        The folder is called as the module.
        """
        with FileLock(self.folder / f"{folder.name}.lock", timeout=BUILD_TIMEOUT_S):
            done = hub("install", folder, home=self.folder, timeout=BUILD_TIMEOUT_S)
        if done.returncode:
            pytest.skip(f"{MISSING} '{folder.name}': {' '.join(done.stderr.split())}")
        return get_environment(self.folder, InstalledModules(self.folder).get(folder.name).manifest.environment)

    def run(self, profile: str | Environment, script: Path, *arguments: object) -> str:
        """Run a script with a profile's Python, or an environment's; return what it printed, and fail the test if it fails."""
        launch = environment_launch(self.environment(profile) if isinstance(profile, str) else profile)
        command = [launch.python, "-s", str(script), *map(str, arguments)]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environ |= {"CUDA_VISIBLE_DEVICES": "-1", **launch.environ}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SCRIPT_TIMEOUT_S, check=False)
        assert done.returncode == 0, f"{script.name} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def made(self, profile: str, maker: str, *arguments: object) -> Path:
        """Return the folder that ``makers/MAKER.py FOLDER [arguments]`` filled; it runs once for each environment and text of the maker."""
        script = MAKERS / f"{maker}.py"
        facts = [self.environment(profile).key, *_texts(script), *map(str, arguments)]
        digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
        folder = self.folder / "made" / f"{maker}-{digest}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock"), timeout=SCRIPT_TIMEOUT_S):
            if not folder.is_dir():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                self.run(profile, script, partial, *arguments)
                partial.replace(folder)
        return folder

    def in_process(
        self, profile: str | Environment, script: Path, *arguments: object, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return what ``SCRIPT GIVEN.npz ANSWERS.npz [arguments]`` computes with a framework's own API, in its environment."""
        with tempfile.TemporaryDirectory() as folder:
            given, answers = Path(folder, "given.npz"), Path(folder, "answers.npz")
            np.savez(given, **arrays)
            self.run(profile, script, given, answers, *arguments)
            with np.load(answers, allow_pickle=False) as loaded:
                return dict(loaded)

    def answers(self, profile: str, model: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what a framework answers by its own API: ``answers/PROFILE_answers.py``."""
        return self.in_process(profile, ANSWERS / f"{profile}_answers.py", model, arrays=arrays)


def _texts(script: Path) -> list[str]:
    """Return the text of a maker, and those of the makers that it imports."""
    text = script.read_text("utf-8")
    imported = [script.with_name(f"{name}.py") for name in re.findall(r"^import (\w+)$", text, re.MULTILINE)]
    return [text, *(each.read_text("utf-8") for each in imported if each.is_file())]
