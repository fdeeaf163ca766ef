"""Chart of throughput against latency as an SVG."""

import math
from html import escape
from typing import Any

_WIDTH_PX, _HEIGHT_PX = 760, 460
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 70, 36, 64, 56
_COLOURS = ("#1f6feb", "#d1480f", "#1a7f37", "#8250df", "#9a6700", "#bf3989")
_INK, _GREY, _GRID = "#1f2328", "#59636e", "#e3e6ea"
#: latency's name -> the dashes of its line
_LINES = {"p50": "", "p99": "5 4"}
_LETTER_PX = 6.5


class _Axis:
    """Axis that maps values to pixels.

    Args:
        low, high: the values at its ends.
        start_px, end_px: where these are.
        log: whether equal ratios are equally far apart.
    """

    def __init__(self, low: float, high: float, start_px: float, end_px: float, *, log: bool = False) -> None:
        self._scale = math.log10 if log else float
        self._low, self._high = self._scale(low), self._scale(high)
        self._start_px, self._end_px = start_px, end_px

    def __call__(self, value: float) -> float:
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return round(self._start_px + share * (self._end_px - self._start_px), 1)


def linear_ticks(high: float) -> list[float]:
    """Return four to ten round steps from 0 to ``high`` or slightly more."""
    rough = (high or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [step * number for number in range(math.ceil(high / step - 1e-9) + 1)] if high else [0.0, 1.0]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2 and 5 times a power of ten, from at most ``low`` to at least ``high``; at least two."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    numbers = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(index for index, each in enumerate(numbers) if each <= low * 1.0001)
    last = min(index for index, each in enumerate(numbers) if each >= high * 0.9999)
    return numbers[first : max(last, first + 1) + 1]


def draw(document: dict[str, Any]) -> str:
    """Return a chart of :func:`hubserve.bench.report.make_document`: items per second to the right, p50 and p99 upwards.

    Returns:
        A whole SVG document.
    """
    steps = [each for each in document["steps"] if each["latency_ms"]["p50"]]
    latencies = [each["latency_ms"][line] for each in steps for line in _LINES]
    x_ticks = linear_ticks(max((each["items_per_s"] for each in steps), default=0.0))
    y_ticks = log_ticks(min(latencies, default=1.0), max(latencies, default=10.0))
    x = _Axis(x_ticks[0], x_ticks[-1], _LEFT_PX, _WIDTH_PX - _RIGHT_PX)
    y = _Axis(y_ticks[0], y_ticks[-1], _HEIGHT_PX - _BOTTOM_PX, _TOP_PX, log=True)
    parts = [_grid(x, y, x_ticks, y_ticks), _titles(document)]
    sizes = list(dict.fromkeys(each["batch_size"] for each in steps))
    for colour, size in zip(_COLOURS * len(sizes), sizes, strict=False):
        parts += [_line([each for each in steps if each["batch_size"] == size], name, colour, x, y) for name in _LINES]
    parts.append(_legend(sizes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH_PX}" height="{_HEIGHT_PX}" viewBox="0 0 {_WIDTH_PX} {_HEIGHT_PX}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{_INK}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, **attributes: Any) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x}" y="{y}"{more}>{escape(text)}</text>'


def _grid(x: _Axis, y: _Axis, x_ticks: list[float], y_ticks: list[float]) -> str:
    bottom, right = _HEIGHT_PX - _BOTTOM_PX, _WIDTH_PX - _RIGHT_PX
    lines = []
    for tick in x_ticks:
        lines.append(f'<path d="M{x(tick)} {_TOP_PX}V{bottom}" stroke="{_GRID}"/>')
        lines.append(_text(x(tick), bottom + 18, f"{tick:,g}" if tick < 1e6 else f"{tick:g}", text_anchor="middle", fill=_GREY))
    for tick in y_ticks:
        lines.append(f'<path d="M{_LEFT_PX} {y(tick)}H{right}" stroke="{_GRID}"/>')
        lines.append(_text(_LEFT_PX - 8, y(tick) + 4, f"{tick:,g}", text_anchor="end", fill=_GREY))
    lines.append(f'<path d="M{_LEFT_PX} {_TOP_PX}V{bottom}H{right}" fill="none" stroke="{_GREY}"/>')
    return "\n".join(lines)


def _titles(document: dict[str, Any]) -> str:
    engine = f", engine {document['engine']}" if document["engine"] else ""
    settings = document["settings"]
    what = (
        f"{document['module']} {document['version']}, payload {document['payloads'][0]['kind']}, instances: {document['instances']}{engine}"
    )
    points = "arrivals per second" if settings["loop"] == "open" else "connections"
    middle_y = (_TOP_PX + _HEIGHT_PX - _BOTTOM_PX) / 2
    return "\n".join(
        [
            _text(_LEFT_PX, 24, what, font_size=15, font_weight="bold"),
            _text(
                (_LEFT_PX + _WIDTH_PX - _RIGHT_PX) / 2, _HEIGHT_PX - 14, f"items per second (at each point: {points})", text_anchor="middle"
            ),
            _text(18, middle_y, "latency, ms", text_anchor="middle", transform=f"rotate(-90 18 {middle_y})"),
        ]
    )


def _line(steps: list[dict[str, Any]], name: str, colour: str, x: _Axis, y: _Axis) -> str:
    points = [(x(each["items_per_s"]), y(each["latency_ms"][name]), each) for each in steps]
    dashes = f' stroke-dasharray="{_LINES[name]}"' if _LINES[name] else ""
    path = " ".join(f"{left},{top}" for left, top, _ in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>']
    for left, top, step in points:
        at = f"{step['rate_per_s']:g}" if "rate_per_s" in step else str(step["connections"])
        label = f"{at}: {step['items_per_s']:.1f} items/s, {name} {step['latency_ms'][name]:.2f} ms"
        parts.append(f'<circle cx="{left}" cy="{top}" r="3.5" fill="{colour}"><title>{escape(label)}</title></circle>')
        if name == "p50":
            parts.append(_text(round(left + 6, 1), round(top + 13, 1), at, font_size=11, fill=colour))
    return "\n".join(parts)


def _legend(sizes: list[int]) -> str:
    entries = [*zip([f"batch {size}" for size in sizes], _COLOURS * len(sizes), [""] * len(sizes), strict=False)] if len(sizes) > 1 else []
    entries += [(name, _GREY if entries else _COLOURS[0], dashes) for name, dashes in _LINES.items()]
    parts, left = [], float(_LEFT_PX)
    for label, colour, dashes in entries:
        parts.append(f'<path d="M{left} 46h26" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes or "none"}"/>')
        parts.append(_text(left + 32, 50, label, fill=_GREY))
        left += 32 + len(label) * _LETTER_PX + 16
    return "\n".join(parts)
