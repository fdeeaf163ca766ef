"""Write the output of a module into the server's log, with the module's name and the requests that it was written for."""

import logging
from collections.abc import Sequence
from functools import cache

from hubserve.gateway.instances.frame_records import ids_of
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.telemetry.line_writer import LineWriter
from hubserve.telemetry.log_file import StandardError
from hubserve.telemetry.log_format import TextFormatter
from hubserve.telemetry.request_record import RequestRecord
from hubserve.wire.output_marks import OutputLine, shown_ids

log = logging.getLogger("hubserve")


class OutputLog:
    """The log of one instance's output.

    Args:
        spec: of the instance.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self._about = spec.log_fields()

    def write(self, line: OutputLine, records: Sequence[RequestRecord | None]) -> None:
        """Write one line.

        Args:
            line: of the instance.
            records: of the requests that it was written for; none for a frame that was answered long ago, whose ids the line has.
        """
        text = line.text.decode("utf-8", "backslashreplace")
        if line.left_out:
            text += f" ... ({line.left_out} more bytes)"
        ids = ids_of(records) or shown_ids(line.mark.ids)
        self.say(line.mark.level, text, ids, line.mark.logger)

    def say(self, level: int, text: str, request_id: str = "", logger: str = "") -> None:
        """Write a line about the module.

        Args:
            level: as in :mod:`logging`.
            text: of the line.
            request_id: what it concerns; "" for no request.
            logger: name of the module's logger; "" for none.
        """
        about = {**self._about, "request_id": request_id}
        record = log.makeRecord(logger or log.name, level, "", 0, text, (), None, extra=about)
        if log.level == logging.NOTSET and not (log.isEnabledFor(level) and log.hasHandlers()):
            _standard_error().write((_FORMATTER.format(record) + "\n").encode("utf-8", "backslashreplace"))
        elif log.isEnabledFor(level):
            log.handle(record)


_FORMATTER = TextFormatter()


@cache
def _standard_error() -> LineWriter:
    """Return the writer for applications whose own logging takes no such lines, so that what modules print appears there, too."""
    return LineWriter(StandardError(), lambda count: b"%d lines are missing here, because standard error is blocked\n" % count)
