"""Report of a measurement, as JSON and as a table."""

import platform
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from hubserve import __version__
from hubserve.bench.payloads import Payload
from hubserve.bench.processes import machine
from hubserve.bench.recorder import percentile
from hubserve.bench.sweep import Measured, Round, Settings, Step, plural
from hubserve.bench.target import Target

#: a client that uses more of its core than this is as likely the limit as the server
_BUSY_SHARE = 0.8
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0}

Document = dict[str, Any]


def make_document(target: Target, payloads: Sequence[Payload], settings: Settings, measured: Measured) -> Document:
    """Return everything in plain JSON types; latencies in ms, figures of a step are medians of its rounds."""
    steps = [_step(step, rounds, measured) for step, rounds in measured.rounds.items()]
    engine = target.module["engine"]
    return {
        "module": target.module["name"],
        "version": target.module["version"],
        "address": target.address,
        "engine": engine and engine["name"],
        "instances": len(target.module["instances"]),
        "versions": {"hubserve": __version__, "server": target.hubserve, "python": platform.python_version()},
        "machine": machine(),
        "settings": {
            "loop": "open" if settings.patterns[0].rate_per_s else "closed",
            "rounds": settings.rounds,
            "seconds": settings.timing.seconds,
            "warm_up_s": settings.timing.warm_up_s,
            "request_timeout_s": settings.timing.timeout_s,
        },
        "payloads": [{"kind": each.kind, "batch_size": each.items, "body_bytes": each.body_bytes} for each in payloads],
        "steps": steps,
        "raw": [{"batch_size": size, "items_per_s": statistics.median(rounds), "rounds": rounds} for size, rounds in measured.raw.items()],
        "raw_left_out": measured.raw_left_out,
        "notes": [*measured.notes, *filter(None, map(_client_note, steps))],
        "interrupted": measured.interrupted,
    }


def _step(step: Step, rounds: list[Round], measured: Measured) -> Document:
    each = [_figures(step, one) for one in rounds]
    figures: Document = {"batch_size": step.batch_size}
    if step.pattern.rate_per_s:
        figures["rate_per_s"] = step.pattern.rate_per_s
    else:
        figures["connections"] = step.pattern.connections
    for key in ("requests_per_s", "items_per_s", "cpu_s_per_1000_requests", "client_core_share"):
        figures[key] = _median(one[key] for one in each)
    figures["resident_mb"] = each[-1]["resident_mb"]
    figures["latency_ms"] = {key: _median(one["latency_ms"][key] for one in each) for key in _PERCENTILES}
    figures["latency_ms"]["max"] = max((one["latency_ms"]["max"] for one in each if one["latency_ms"]["max"] is not None), default=None)
    figures["errors"] = _add_errors(each)
    raw = measured.raw.get(step.batch_size)
    figures["share_of_raw"] = figures["items_per_s"] / statistics.median(raw) if raw and statistics.median(raw) else None
    figures["rounds"] = each
    return figures


def _figures(step: Step, one: Round) -> Document:
    counted, usage = one.counted, one.usage
    rate = counted.answered / counted.seconds
    latency_ms: Document = dict.fromkeys([*_PERCENTILES, "max"])
    if counted.latencies_s:
        latency_ms = {key: 1000 * percentile(counted.latencies_s, percent) for key, percent in _PERCENTILES.items()}
        latency_ms["max"] = 1000 * counted.latencies_s[-1]
    return {
        "requests_per_s": rate,
        "items_per_s": rate * step.batch_size,
        "latency_ms": latency_ms,
        "errors": [{"status": status, "count": count, "text": text} for status, (count, text) in counted.failures.items()],
        "cpu_s_per_1000_requests": 1000 * usage.cpu_s / counted.answered if usage and counted.answered else None,
        "resident_mb": usage.resident_bytes / 1e6 if usage else None,
        "client_core_share": counted.client_share,
    }


def _median(values: Any) -> float | None:
    known = [each for each in values if each is not None]
    return statistics.median(known) if known else None


def _add_errors(rounds: list[Document]) -> list[Document]:
    added: dict[str, Document] = {}
    for error in (each for one in rounds for each in one["errors"]):
        kept = added.setdefault(error["status"], {**error, "count": 0})
        kept["count"] += error["count"]
    return list(added.values())


def _client_note(step: Document) -> str:
    if step["client_core_share"] <= _BUSY_SHARE:
        return ""
    return f"at {_how(step)} this client itself used {step['client_core_share']:.0%} of its core: the figures are the client's"


def _how(step: Document) -> str:
    how = f"{step['rate_per_s']:g} requests/s" if "rate_per_s" in step else plural(step["connections"], "connection")
    return f"batch {step['batch_size']}, {how}"


def heading(document: Document) -> str:
    """Return one paragraph about what was measured, and how."""
    settings, payload = document["settings"], document["payloads"][0]
    instances = plural(document["instances"], "instance")
    engine = f", engine {document['engine']}" if document["engine"] else ""
    loop = "open loop, latency from the intended arrival" if settings["loop"] == "open" else "closed loop"
    rounds = f"median of {settings['rounds']} rounds of" if settings["rounds"] > 1 else "one round of"
    return (
        f"{document['module']} {document['version']} at {document['address']} ({instances}{engine}); payload {payload['kind']}, "
        f"{_sizes(document['payloads'])}; {loop}, {rounds} {settings['seconds']:g} s"
    )


def _sizes(payloads: list[Document]) -> str:
    sizes = sorted({each["body_bytes"] for each in payloads})
    return f"{_bytes(sizes[0])}" + (f" to {_bytes(sizes[-1])}" if len(sizes) > 1 else "")


def _bytes(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} KB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def table(document: Document) -> tuple[list[str], list[list[str]]]:
    """Return titles and a row for each step; omit columns without information."""
    steps = document["steps"]
    columns: dict[str, Callable[[Document], str]] = {}
    if any(each["batch_size"] != 1 for each in steps):
        columns["batch"] = lambda step: str(step["batch_size"])
    if document["settings"]["loop"] == "open":
        columns["rate/s"] = lambda step: f"{step['rate_per_s']:g}"
    else:
        columns["conns"] = lambda step: str(step["connections"])
    columns["req/s"] = lambda step: _number(step["requests_per_s"])
    if "batch" in columns:
        columns["items/s"] = lambda step: _number(step["items_per_s"])
    for key in (*_PERCENTILES, "max"):
        columns[key] = lambda step, key=key: _number(step["latency_ms"][key])  # type: ignore[misc]  # a default binds the key
    if any(each["errors"] for each in steps):
        columns["errors"] = lambda step: str(sum(each["count"] for each in step["errors"]))
    columns["cpu s"] = lambda step: _number(step["cpu_s_per_1000_requests"])
    columns["MB"] = lambda step: _number(step["resident_mb"], whole=True)
    if document["raw"]:
        columns["of raw"] = lambda step: _number(step["share_of_raw"])
    return list(columns), [[column(step) for column in columns.values()] for step in steps]


def _number(value: float | None, *, whole: bool = False) -> str:
    """Format with three digits or more; "-" for unknown values."""
    if value is None:
        return "-"
    if whole or value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def footnotes(document: Document) -> list[str]:
    """Return the notes below the table, one per line."""
    lines = ["latencies in ms; cpu s: the server's processor time for 1000 requests; MB: resident, all its processes"]
    if document["raw"]:
        alone = ", ".join(f"{_number(each['items_per_s'])} items/s in batches of {each['batch_size']}" for each in document["raw"])
        lines.append(f"raw: one instance's engine alone, by turns with the server: {alone}")
    if document["raw_left_out"]:
        lines.append(f"raw is left out: {document['raw_left_out']}")
    for step in document["steps"]:
        lines += [f"{plural(each['count'], 'error')} at {_how(step)}: {each['status']}: {each['text']}" for each in step["errors"]]
    if any(step["latency_ms"]["p50"] is None and not step["errors"] for step in document["steps"]):
        lines.append("-: not one answer came in the time that was counted; give more --seconds")
    return [*lines, *document["notes"]]
