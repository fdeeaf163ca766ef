"""Know which requests the frames of an instance are computed for, so that lines of the log can name them."""

from collections import deque
from collections.abc import Sequence

from hubserve.telemetry.request_record import RequestRecord
from hubserve.wire.output_marks import MOST_IDS, shown_ids

#: frames whose requests are known after they were answered: a module's thread may write late
_KEPT_FRAMES = 256
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


def ids_of(records: Sequence[RequestRecord | None]) -> str:
    """Return the ids of requests for a line of the log, with new ones for those that have none; "" for no requests."""
    known = [each for each in records if each is not None]
    return shown_ids([each.identify() for each in known[:MOST_IDS]], max(0, len(known) - MOST_IDS))
