"""The marks of a module's output: put on, divided into reads of any size, and taken off again."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from hubserve.wire.output_marks import ERROR, LAST, WHOLE, Mark, OutputLine, OutputLines, marked, shown_ids

MARK = Mark(3, 1, 42, logging.WARNING, 0, "my.logger", ("a-1", "b;2"))


def lines_of(*parts: bytes, **limits: int) -> list[OutputLine]:
    lines = OutputLines(**limits)
    found = [each for part in parts for each in lines.feed(part)]
    return [*found, *lines.close()]


def texts_of(*parts: bytes, **limits: int) -> list[bytes]:
    return [each.text for each in lines_of(*parts, **limits)]


def test_a_marked_line_keeps_its_mark() -> None:
    (line,) = lines_of(*marked(b"hello\n", MARK))
    assert line == OutputLine(b"hello", MARK, is_marked=True, left_out=0)


def test_what_one_thread_writes_in_pieces_is_one_line_whatever_others_write_between() -> None:
    other = MARK._replace(thread=43)
    pieces = [(b"one ", MARK), (b"two ", other), (b"1", MARK), (b"2", other), (b"\n", MARK), (b"\n", other)]
    parts = [part for data, mark in pieces for part in marked(data, mark)]
    assert texts_of(*parts) == [b"one 1", b"two 2"]
    assert texts_of(parts[0], b"native\n", parts[2]) == [b"native", b"one 1"]


def test_output_without_marks_belongs_to_the_frame_that_was_named_before() -> None:
    parts = [b"before\n", *marked(b"", Mark(7)), b"during\n", *marked(b"of a thread\n", MARK), b"still\n"]
    assert [(each.text, each.mark.frame, each.is_marked) for each in lines_of(*parts)] == [
        (b"before", 0, False),
        (b"during", 7, False),
        (b"of a thread", 3, True),
        (b"still", 7, False),
    ]


def test_a_message_of_several_lines_is_one_and_parts_of_a_long_one_are_joined() -> None:
    message = b"first\n" + b"x" * 10_000 + b"\nlast\n"
    parts = list(marked(message, MARK._replace(flags=WHOLE)))
    assert len(parts) == 3
    assert all(len(part) <= 4096 for part in parts), "each is written undivided"
    (line,) = lines_of(*parts)
    assert line.text == message.rstrip(b"\n")
    assert line.mark.flags == WHOLE


def test_long_lines_are_cut_and_counted() -> None:
    (line,) = lines_of(b"x" * 100, b"y" * 100, b"\n", longest=150)
    assert (line.text, line.left_out) == (b"x" * 100 + b"y" * 50, 50)
    (message,) = lines_of(*marked(b"z" * 9000, MARK._replace(flags=WHOLE)), longest_message=100)
    assert (len(message.text), message.left_out) == (100, 8900)


def test_a_progress_bar_is_shown_as_it_ends() -> None:
    assert texts_of(b"\r 10%", b"\r 50%\r", b"100%", b"\n") == [b"100%"]
    assert texts_of(b"abc\rdef\n", b"dos\r\n") == [b"def", b"dos"]


def test_colours_are_left_out() -> None:
    assert texts_of(b"\x1b[1;31mred\x1b[0m \x1b[2K\x1b[Aup \x1b]not a colour\n") == [b"red up \x1b]not a colour"]


def test_what_is_no_mark_is_output() -> None:
    for garbage in (b"\x1e\n", b"\x1e1;2\x1f\n", b"\x1e1;-1;1;20;0;9999999;;\x1f\n", b"\x1e" * 50 + b"\n", b"\x1fx\n"):
        assert texts_of(garbage) == [garbage[:-1]]
    assert texts_of(b"\x1e1;-1;1;20;0;500;;\x1fthe process ended here") == [b"\x1e1;-1;1;20;0;500;;\x1fthe process ended here"]
    assert texts_of(b"\x1eunfinished") == [b"\x1eunfinished"]


def test_the_reason_of_a_fatal_end_is_an_error() -> None:
    levels = {each.text: each.mark.level for each in lines_of(b"fine\n", b"partialFatal Python error: Segmentation fault\n\n  File\n")}
    assert levels == {b"fine": logging.INFO, b"partialFatal Python error: Segmentation fault": ERROR, b"  File": ERROR}


def test_skipped_output_is_counted_and_reading_continues_behind_it() -> None:
    lines = OutputLines()
    lines.feed(b"begun")
    (part,) = marked(b"kept\n", MARK)
    assert lines.skip(b"1\n2\n3\n" + part[:20]) == 3
    assert [each.text for each in lines.feed(part[20:])] == [b"kept"]


def test_the_names_of_loggers_and_many_ids_fit_into_a_mark() -> None:
    mark = Mark(1, -1, 1, 20, 0, "ein;\x1fLögger\n" + "x" * 500, tuple("i" * 128 for _ in range(20)))
    (line,) = lines_of(*marked(b"hello\n", mark))
    assert line.text == b"hello"
    assert line.mark.logger.startswith("ein__L_gger_xxx")
    assert len(line.mark.ids) == 8
    assert shown_ids([str(number) for number in range(10)], 3) == "0,1,2,3,4,5,6,7,+5"


marks = st.builds(
    Mark,
    st.integers(1, 10**9),
    st.integers(-1, 600),
    st.integers(0, 2**63),
    st.integers(0, 100),
    st.sampled_from([0, WHOLE]),
    st.text("abc.", max_size=20),
    st.lists(st.text("ab-;:", min_size=1, max_size=9), max_size=8).map(tuple),
)


@given(
    st.lists(st.tuples(st.binary(max_size=5000).map(lambda data: data + b"\n"), st.none() | marks), max_size=6),
    st.lists(st.integers(1, 3000), min_size=1, max_size=10),
)
def test_output_is_the_same_however_it_is_divided_into_reads(written: list[tuple[bytes, Mark | None]], sizes: list[int]) -> None:
    stream = b"".join(data if mark is None else b"".join(marked(data, mark)) for data, mark in written)
    parts, start = [], 0
    while start < len(stream):
        parts.append(stream[start : start + sizes[len(parts) % len(sizes)]])
        start += len(parts[-1])
    assert lines_of(*parts) == lines_of(stream)
    for data, mark in written:  # nothing that has a mark is lost, except what a carriage return overwrites
        if mark is not None and data.strip() and not mark.flags and not {0x0D, 0x1B} & set(data):
            expected = [each for each in data.split(b"\n") if each.strip()]
            assert [each.text for each in lines_of(*marked(data, mark))] == expected


def test_marks_are_read_as_written() -> None:
    (part,) = marked(b"x\n", MARK._replace(flags=WHOLE))
    assert part == b"\x1e3;1;42;30;%d;2;my.logger;a-1 b;2\x1fx\n" % (WHOLE | LAST)
