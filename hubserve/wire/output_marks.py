"""Mark what a module writes with the frame, the level and the logger that it belongs to, and take the marks off again.

An instance's descriptors 1 and 2 are one pipe. What Python code writes through ``sys.stdout`` and ``sys.stderr`` is preceded by a mark, in
a single write that the kernel does not divide; what native code and other programs write is not. A mark is text between the control
characters RS and US, and names the number of bytes that it is for; bytes that look like an incomplete or broken one are output like any.
An empty mark says which frame the output without marks after it belongs to, and what the instance is called.
"""

import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

#: bytes that a pipe takes at once, undivided (PIPE_BUF)
_ATOMIC_BYTES = 4096
#: ids of one mark, and characters of the name of a logger
MOST_IDS = 8
_MOST_NAME = 100
_MARK = re.compile(rb"\x1e(\d{1,18});(-1|\d{1,6});(\d{1,20});(\d{1,3});([0-3]);(\d{1,4});([^;\x1e\x1f]{0,300});([!-~]+(?: [!-~]+)*)?\x1f")
_LONGEST_MARK = 2048
#: the line breaks in it are part of one message
WHOLE = 1
#: it ends that message
LAST = 2
INFO, ERROR = 20, 40
#: with these, native code says why it ends a process
_FATAL = re.compile(
    rb"Fatal Python error: |terminate called |^[*]{3} .* [*]{3}:|^double free or corruption|^(free|malloc)\(\): |^Segmentation fault"
)
_MOST_PARTIAL = 64
#: colours and movements of a terminal's cursor
_TERMINAL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Mark(NamedTuple):
    """The origin of some output.

    Attributes:
        frame: number of the frame that it was written for; 0 for none.
        call: index of the call in that frame; -1 for all of its calls.
        thread: number of the thread that wrote it.
        level: as in :mod:`logging`.
        flags: :data:`WHOLE` and :data:`LAST`.
        logger: name of the module's logger; "" for output that is not a log record.
        ids: of the requests that it was written for, as far as the instance knows them.
    """

    frame: int = 0
    call: int = -1
    thread: int = 0
    level: int = INFO
    flags: int = 0
    logger: str = ""
    ids: Tuple[str, ...] = ()


class OutputLine(NamedTuple):
    """One line, or one message of several lines.

    Attributes:
        text: without the last line break.
        mark: its mark; for output without marks one of the frame that was computed, as far as known.
        is_marked: whether it had one.
        left_out: bytes of it that were cut off.
    """

    text: bytes
    mark: Mark
    is_marked: bool
    left_out: int


def marked(data: bytes, mark: Mark) -> Iterator[bytes]:
    """Yield some output with its mark, in parts for one write each.

    Args:
        data: the output; empty for an empty mark.
        mark: its origin; with :data:`WHOLE`, the data is one message.
    """
    logger = re.sub(r"[^!-:<-~]", "_", mark.logger[:_MOST_NAME])
    ids = " ".join(mark.ids[:MOST_IDS])
    start = 0
    while True:
        room = _ATOMIC_BYTES - len(logger) - len(ids) - 70
        part, start = data[start : start + room], start + room
        flags = mark.flags | LAST if mark.flags & WHOLE and start >= len(data) else mark.flags
        head = f"\x1e{mark.frame};{mark.call};{mark.thread};{mark.level};{flags};{len(part)};{logger};{ids}\x1f"
        yield head.encode("ascii", "replace") + part
        if start >= len(data):
            return


class OutputLines:
    """Divide the output of an instance into lines, each with its mark.

    Args:
        longest: bytes of a line, beyond which it is cut.
        longest_message: bytes of a message of several lines.

    Attributes:
        shown_as: what the instance calls itself; "" until it has said it.
    """

    def __init__(self, longest: int = 8 << 10, longest_message: int = 64 << 10) -> None:
        self.shown_as = ""
        self._longest = longest
        self._longest_message = longest_message
        self._rest = b""
        self._frame = 0  # of output without marks
        self._level = INFO  # as above
        self._partial: Dict[Optional[Mark], _Partial] = {}

    def feed(self, data: bytes) -> List[OutputLine]:
        """Return the lines that some output completes."""
        lines: List[OutputLine] = []
        data = self._rest + data if self._rest else data
        position = 0
        while position < len(data):
            start = data.find(b"\x1e", position)
            if start != position:
                end = start if start >= 0 else len(data)
                self._add(None, data[position:end], lines)
                position = end
                continue
            found = _MARK.match(data, position)
            if found is None:
                if _may_continue(data, position):
                    break
                self._add(None, b"\x1e", lines)
                position += 1
                continue
            end = found.end() + int(found[6])
            if end > len(data):
                break
            self._take(found, data[found.end() : end], lines)
            position = end
        self._rest = data[position:]
        return lines

    def _take(self, found: "re.Match[bytes]", data: bytes, lines: List[OutputLine]) -> None:
        frame, call, thread, level, flags = (int(found[group]) for group in range(1, 6))
        if not data:
            self._frame = frame
            self.shown_as = found[7].decode("ascii", "replace") or self.shown_as
            return
        ids = tuple(each for each in (found[8] or b"").decode("ascii").split(" ") if each)[:MOST_IDS]
        self._add(Mark(frame, call, thread, level, flags, found[7].decode("ascii", "replace"), ids), data, lines)

    def _add(self, mark: Optional[Mark], data: bytes, lines: List[OutputLine]) -> None:
        if mark is not None and mark.flags & WHOLE:
            key = mark._replace(flags=WHOLE)
            self._append(key, data, self._longest_message)
            if mark.flags & LAST:
                self._end(key, lines)
            return
        *complete, rest = data.split(b"\n")
        for each in complete:
            self._append(mark, each, self._longest)
            self._end(mark, lines)
        if rest:
            self._append(mark, rest, self._longest)
            if len(self._partial) > _MOST_PARTIAL:
                self._end(next(iter(self._partial)), lines)

    def _append(self, mark: Optional[Mark], data: bytes, longest: int) -> None:
        partial = self._partial.get(mark)
        if partial is None:
            partial = self._partial[mark] = _Partial()
        if mark is None or not mark.flags & WHOLE:
            data = partial.begin_again(data)
        partial.append(data, longest)

    def _end(self, mark: Optional[Mark], lines: List[OutputLine]) -> None:
        partial = self._partial.pop(mark)
        text = partial.shown()
        if mark is None and _FATAL.search(text):
            self._level = ERROR
        if text.strip():
            lines.append(OutputLine(text, mark or Mark(self._frame, level=self._level), mark is not None, partial.left_out))

    def skip(self, data: bytes) -> int:
        """Return the number of lines in some output, which is read no further; what continues it later lacks its beginning."""
        self._partial.clear()
        self._rest = b""
        last = data.rfind(b"\x1e")
        if last >= 0:
            self.feed(data[last:])  # the mark may be incomplete
        return data.count(b"\n")

    def close(self) -> List[OutputLine]:
        """Return the lines that have begun and will not be completed."""
        lines: List[OutputLine] = []
        rest, self._rest = self._rest, b""
        if rest:
            self._add(None, rest, lines)
        for mark in list(self._partial):
            self._end(mark, lines)
        return lines


class _Partial:
    """A line that is not complete."""

    __slots__ = ("_text", "left_out")

    def __init__(self) -> None:
        self._text = b""
        self.left_out = 0

    def append(self, data: bytes, longest: int) -> None:
        room = max(0, longest - len(self._text))
        self._text += data[:room]
        self.left_out += max(0, len(data) - room)

    def begin_again(self, data: bytes) -> bytes:
        """Drop what a carriage return, as of a progress bar, overwrites; returns what of the new output is left."""
        start = data.rfind(b"\r", 0, len(data) - 1) + 1
        if start or (data and self._text.endswith(b"\r")):
            self._text, self.left_out = b"", 0
        return data[start:]

    def shown(self) -> bytes:
        """Return the text without colours and trailing line breaks."""
        text = _TERMINAL.sub(b"", self._text) if b"\x1b" in self._text else self._text
        return text.rstrip(b"\r\n")


def _may_continue(data: bytes, start: int) -> bool:
    """Return True if what begins at ``start`` may be a mark whose end has not come."""
    return len(data) - start < _LONGEST_MARK and data.find(b"\x1f", start) < 0 and data.find(b"\n", start) < 0


def shown_ids(ids: Sequence[str], more: int = 0) -> str:
    """Return ids as one word for a line of the log: the first few, and how many there are beside them."""
    more += max(0, len(ids) - MOST_IDS)
    return ",".join(ids[:MOST_IDS]) + (f",+{more}" if more else "")
