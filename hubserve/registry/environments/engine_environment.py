"""Environment of an engine whose package this Python does not have, for models that are served without an install."""

import logging
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.configuration import install_settings
from hubserve.registry.environments.environment_record import Environment
from hubserve.registry.environments.launch import Launch, environment_launch
from hubserve.registry.environments.module_requirements import engine_profile
from hubserve.registry.environments.profile import HOST, Profile, get_profile
from hubserve.registry.environments.profile_environment import built_environment, profile_environment
from hubserve.registry.environments.python_choice import PythonRequest, choose_python
from hubserve.registry.environments.resolve import PYTHONS_CACHE
from hubserve.registry.progress import LASTING

_LOG = logging.getLogger("hubserve")


def engine_launch(home: Path, engine: str, subject: str, *, build: bool, use_gpu: bool = False, requested: str = "") -> Launch | None:
    """Return how to start the instances of a model; None for this Python.

    Args:
        home: the home.
        engine: the engine that computes the file; "" for none.
        subject: of messages, such as ``"model 'resnet'"``.
        build: whether to build the environment if it does not exist.
        use_gpu: whether the engine computes on a GPU.
        requested: the profile named in the settings, which is built if it does not exist, or ``host``; "" for the engine's.
    Raises:
        ConfigError: the requested profile does not exist.
        InstallError: the environment does not exist, and is not to be built or cannot be built.
    """
    name = requested or engine_profile(engine, use_gpu)
    if name in ("", HOST):
        return None
    profile = get_profile(home, name)
    environment = built_environment(home, profile)
    if environment is None and (build or requested):
        timeout_s = install_settings(home).lock_timeout_s
        environment = profile_environment(home, name, timeout_s=timeout_s, progress=BuildLog(subject)).environment
    if environment is None:
        raise not_built(home, engine, profile, subject)
    return environment_launch(environment)


def environment_of(home: Path, engine: str) -> Environment | None:
    """Return the environment that an engine runs in; None if that is this Python, or the environment is not built."""
    name = engine_profile(engine)
    return built_environment(home, get_profile(home, name)) if name else None


def not_built(home: Path, engine: str, profile: Profile, subject: str) -> InstallError:
    """Return the error for a model whose engine needs an environment that does not exist.

    Raises:
        InstallError: no Python of this machine fits, so that it cannot be built here.
    """
    choose_python(PythonRequest(), home / "cache" / PYTHONS_CACHE, profile.base)
    return InstallError(
        f"{subject} is computed by the engine {engine}, which this Python does not have, and the environment for it is not built. Build it "
        f"once with 'hub env build {profile.name}' ({profile.size_text}), or let the server do it: hub serving start --build-environments"
    )


class BuildLog:
    """Log of a build's steps, each once."""

    def __init__(self, subject: str) -> None:
        self._subject, self._last = subject, ""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:  # noqa: ARG002 - the signature of Progress
        """See :class:`hubserve.registry.progress.Progress`."""
        shown = step if step.startswith(LASTING) else step.partition(":")[0]  # the size is behind the colon
        if shown != self._last:
            self._last = shown
            _LOG.info("%s: %s ...", self._subject, shown)
