"""Checks of the permissions of a configuration and of the secrets that it names."""

import stat
from collections.abc import Iterator
from pathlib import Path

from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, WARNING, Finding, from_error
from hubserve.errors import ConfigError
from hubserve.gateway.instances.remote_instance import identity


def check_tokens(config: Config) -> Iterator[Finding]:
    """Check that only the user can read token files and change the configuration."""
    if config.path.stat().st_mode & stat.S_IWOTH:
        reason = "every user can write this file, and so have your server load any code"
        yield config.finding(ERROR, "permissions", reason, f"chmod o-w '{config.path}'")
    for name, module in config.modules.items():
        if not (module.token_file or module.remote_cert):
            continue
        key = "token_file" if module.token_file else "remote_key"
        about, path = f"modules_info.{name}.{key}", Path(getattr(module, key))
        try:
            identity(module.token_file, module.certificates)
        except ConfigError as error:
            fix = f"Run hub key remote '{path}', and copy the file to the other machine" if module.token_file else "Correct the files"
            yield from_error(error, about, fix, str(config.path))
            continue
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            reason = f"other users of this machine can read the secret in '{path}'"
            yield config.finding(WARNING, about, reason, f"chmod 600 '{path}'")
