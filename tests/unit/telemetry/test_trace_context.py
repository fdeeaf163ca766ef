"""The headers of W3C's trace context."""

import pytest

from hubserve.telemetry.trace_context import TraceContext, checked_tracestate, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f" 00-{TRACE}-{SPAN}-01 ", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_context_is_read_and_written(value: str, is_sampled: bool) -> None:
    context = parse_traceparent(value)
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), is_sampled)
    assert context.header() == f"00-{TRACE}-{SPAN}-{'01' if is_sampled else '00'}"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_malformed_counts_as_absent(value: str) -> None:
    assert parse_traceparent(value) is None


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a=1 ,\tb=2,,", "a=1,b=2"),
        ("1tenant@vendor=x y", "1tenant@vendor=x y"),
        ("", ""),
        ("a", ""),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=b=c", ""),
        ("a=\x00", ""),
        ("a=é", ""),
        (",".join(f"a{number}=1" for number in range(33)), ""),
        ("a=" + "x" * 250 + ",b=" + "x" * 250 + ",c=" + "x" * 10, ""),
    ],
)
def test_states_are_passed_on_if_they_are_well_formed(value: str, kept: str) -> None:
    assert checked_tracestate(value) == kept
