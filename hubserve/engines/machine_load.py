"""Measure how busy this machine was with other work while engines were measured."""

import os
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

#: cores that others computed on, and that a hypervisor took away, of all cores: with more, figures are taken for unsure
_BUSY, _STOLEN = 0.15, 0.05
_STAT = Path("/proc/stat")


class Used(NamedTuple):
    """Seconds of processor time since the machine was started: ``busy`` of all processes, ``stolen`` by a hypervisor."""

    busy: float
    stolen: float


def used(stat: Path = _STAT) -> Optional[Used]:
    """Return what all cores together have done; None if the system does not report it."""
    try:
        fields = [int(each) for each in stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = fields
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    return Used((user + nice + system + interrupts + soft_interrupts) / ticks, stolen / ticks)


def load_between(before: Optional[Used], after: Optional[Used], own_s: float, elapsed_s: float, cores: int) -> Dict[str, Any]:
    """Summarise what else the machine did, for a record.

    Args:
        before: of :func:`used`.
        after: of :func:`used`.
        own_s: processor time of the measuring itself between the two.
        elapsed_s: between the two.
        cores: of the machine.
    Returns:
        ``loadavg`` (of the last minute), ``others_cores`` and ``stolen_cores`` (on average; None if not known), and ``busy``.
    """
    load: Dict[str, Any] = {"loadavg": round(os.getloadavg()[0], 2), "others_cores": None, "stolen_cores": None, "busy": False}
    if before is None or after is None or elapsed_s <= 0:
        return load
    others = max(0.0, after.busy - before.busy - own_s) / elapsed_s
    stolen = (after.stolen - before.stolen) / elapsed_s
    busy = others > _BUSY * cores or stolen > _STOLEN * cores
    return {**load, "others_cores": round(others, 2), "stolen_cores": round(stolen, 2), "busy": busy}


class IdleSince:
    """Track for how long the machine has been idle, from periodic samples of :func:`used`."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._before: Optional[Used] = None
        self._at = 0.0
        self._idle_s = 0.0

    def idle_s(self, now: Optional[Used], clock_s: float) -> float:
        """Seconds, up to now, in which no more than a small part of the cores computed.

        Args:
            now: of :func:`used`.
            clock_s: a monotonic clock.
        """
        before, at = self._before, self._at
        self._before, self._at = now, clock_s
        if now is None or before is None:
            return 0.0
        busy = load_between(before, now, 0.0, clock_s - at, self._cores)["busy"]
        self._idle_s = 0.0 if busy else self._idle_s + clock_s - at
        return self._idle_s
