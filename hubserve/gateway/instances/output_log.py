"""Write the output of a module into the server's log, with the module's name and the requests that it was written for."""

import logging
import sys
from collections import deque
from collections.abc import Sequence

from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.telemetry.log_format import TextFormatter
from hubserve.telemetry.request_record import RequestRecord
from hubserve.wire.output_marks import MOST_IDS, OutputLine, shown_ids

log = logging.getLogger("hubserve")

#: frames whose requests are known after they were answered: a module's thread may write late
_KEPT_FRAMES = 64
#: as above, of a module that answers a frame before it has computed it
_KEPT_CONCURRENT_FRAMES = 1024


class FrameRecords:
    """The records of the requests in the latest frames of an instance."""

    def __init__(self) -> None:
        self._frames: deque[Sequence[RequestRecord | None]] = deque(maxlen=_KEPT_FRAMES)
        self._count = 0

    def keep_more(self) -> None:
        """Keep those of more frames, because the module answers frames before it has computed them."""
        self._frames = deque(self._frames, maxlen=_KEPT_CONCURRENT_FRAMES)

    def begin(self, records: Sequence[RequestRecord | None]) -> None:
        """Note the requests of the next frame."""
        self._frames.append(records)
        self._count += 1

    def of(self, frame: int, call: int = -1) -> Sequence[RequestRecord | None]:
        """Return the records of a frame, or of one call of it; none for an unknown one."""
        index = frame - 1 - self._count + len(self._frames)
        if not 0 <= index < len(self._frames):
            return ()
        records = self._frames[index]
        return records if call < 0 else records[call : call + 1]

    def latest(self, unanswered: int) -> Sequence[RequestRecord | None]:
        """Return the records of the oldest unanswered frame, or of the last one if all are answered."""
        return self.of(self._count - max(0, unanswered - 1))


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
            records: of the requests that it was written for; used unless the line names the requests itself.
        """
        text = line.text.decode("utf-8", "backslashreplace")
        if line.left_out:
            text += f" ... ({line.left_out} more bytes)"
        if line.mark.ids:
            ids, more = list(line.mark.ids), max(0, len(records) - len(line.mark.ids))
        else:
            known = [each for each in records if each is not None]
            ids, more = [each.identify() for each in known[:MOST_IDS]], max(0, len(known) - MOST_IDS)
        self.say(line.mark.level, text, shown_ids(ids, more), line.mark.logger)

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
        if log.hasHandlers():
            if log.isEnabledFor(level):
                log.handle(record)
        else:  # an application that has not set up logging: its server's standard error
            sys.stderr.write(_FALLBACK.format(record) + "\n")


_FALLBACK = TextFormatter()
