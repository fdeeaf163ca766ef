"""Set up the logs that the settings ask for."""

import logging
from functools import partial
from pathlib import Path

from hubserve.errors import ConfigError
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.log_settings import start_with_level
from hubserve.settings import ServerSettings
from hubserve.telemetry.access_log import AccessLog, lost_line
from hubserve.telemetry.line_writer import LineWriter, WriterHandler
from hubserve.telemetry.log_file import Destination, LogFile, StandardError
from hubserve.telemetry.log_format import JsonFormatter, TextFormatter

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ACCESS_DELAY_S = 0.2


def set_up_log(settings: ServerSettings) -> LineWriter:
    """Set up the server's log: level, format and file, also for warnings and libraries; returns its writer.

    Raises:
        ConfigError: the file cannot be opened.
    """
    writer = LineWriter(_destination(settings, settings.log_file, "log_file"), partial(lost_line, settings.log_format))
    handler = WriterHandler(writer)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=_LEVELS[settings.log_level], handlers=[handler])
    logging.captureWarnings(capture=True)
    start_with_level(settings.log_level, settings.log_file)
    return writer


def set_up_access_log(context: Context) -> None:
    """Log each request if the settings ask for it.

    Raises:
        ConfigError: the file cannot be opened.
    """
    settings = context.settings
    form = settings.access_log
    if form == "off":
        return
    writer = None
    if settings.access_log_file or not context.is_mounted:
        path = settings.access_log_file or settings.log_file
        writer = LineWriter(_destination(settings, path, "access_log_file"), partial(lost_line, form), _ACCESS_DELAY_S)
    access_log = AccessLog(form, writer)
    context.telemetry.wants_marks = context.telemetry.wants_ids = True
    context.telemetry.end_listeners.append(access_log)
    context.telemetry.stream_listeners.append(access_log)
    context.on_close.append(access_log.close)


def _destination(settings: ServerSettings, path: str, key: str) -> Destination:
    if not path:
        return StandardError()
    try:
        return LogFile(Path(path), settings.log_file_max_mb, settings.log_files_kept)
    except OSError as error:
        raise ConfigError(f"the file of '{key}', '{path}', cannot be written: {error.strerror}; choose another path") from None
