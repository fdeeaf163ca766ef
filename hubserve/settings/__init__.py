"""Settings of a server, from PaddleHub's ``config.json`` with more keys or from the command line's flags.

With ``--config`` the file's settings apply, and of the flags only those that PaddleHub does not have; otherwise the flags make the same
object.
docs/reference/settings.md is generated from the fields' docstrings (tools/reference.py).
"""

from hubserve.config_file.legacy import Note
from hubserve.settings.module import ModuleSettings
from hubserve.settings.parsing import log_note, parse_settings, read_config, with_paths
from hubserve.settings.server import DEFAULT_PORT, ServerSettings

__all__ = ["DEFAULT_PORT", "ModuleSettings", "Note", "ServerSettings", "log_note", "parse_settings", "read_config", "with_paths"]
