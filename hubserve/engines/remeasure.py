"""Measure a model's engines again, in a process that a server starts on an idle machine, or for ``hub engines measure``."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, Sequence

from hubserve.engines.base import ModelFiles, options_of
from hubserve.engines.measurement import ROUNDS
from hubserve.engines.selection import check, installed_readers
from hubserve.engines.selection_cache import Kept, Verdict, keep, read_kept
from hubserve.errors import HubError, LoadFailed

#: how many times faster another engine must be than one that serves already
MARGIN = 1.1
#: beside those of a first measurement: there is time
_MORE_ROUNDS = 3
_NICE = 10


def remeasure(path: Path, margin: float = 1.0, only_if_idle: bool = False) -> Dict[str, Any]:
    """Measure the engines of a verdict again, and keep the result.

    Args:
        path: of a verdict in the cache.
        margin: how many times faster another engine must be to be taken.
        only_if_idle: keep nothing if the machine was busy with other work meanwhile.
    Returns:
        ``engine`` and ``was``, ``reason`` and ``measured`` as the verdict has them now, and ``state``: ``kept``, ``changed``, or ``busy``
        where nothing was kept.
    Raises:
        LoadFailed: the verdict or its model is gone, or cannot be measured.
    """
    kept = read_kept(path)
    if kept is None or kept.asked is None:
        raise LoadFailed(f"there is no engine choice '{path}' that could be measured again. Load the module once more.")
    verdict = _measured_again(kept)
    load = (verdict.measured or {}).get("load", {})
    told = {"was": kept.verdict.engine, "engine": verdict.engine, "reason": verdict.reason, "measured": verdict.measured}
    if only_if_idle and load.get("busy"):
        return {**told, "engine": kept.verdict.engine, "state": "busy"}
    verdict = _with_margin(kept.verdict.engine, verdict, margin)
    if verdict.measured is not None:
        verdict.measured["choice"] = (kept.verdict.measured or {}).get("choice", "")
        if only_if_idle:
            verdict.measured["again"] = ""  # once is enough
    try:
        keep(path, verdict, kept.asked)
    except OSError as error:
        raise LoadFailed(f"the engine choice '{path}' cannot be written: {error.strerror or error}") from None
    state = "kept" if verdict.engine == kept.verdict.engine else "changed"
    return {**told, "engine": verdict.engine, "reason": verdict.reason, "measured": verdict.measured, "state": state}


def _measured_again(kept: Kept) -> Verdict:
    asked = kept.asked or {}
    try:
        files = ModelFiles(Path(asked["graph"]), Path(asked["weights"]) if asked["weights"] else None)
        options = options_of(asked["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise LoadFailed(f"the engine choice '{kept.path}' is damaged: {error}. Remove the file.") from None
    for each in files:
        if each is not None and not each.exists():
            raise LoadFailed(f"the model '{each}', whose engines should be measured again, no longer exists")
    engines = installed_readers(files.graph)
    verdict = check(files, options, engines, ROUNDS * _MORE_ROUNDS)
    if not verdict.lasting or verdict.measured is None:
        raise LoadFailed(f"the engines for '{files.graph}' could not be measured: {verdict.reason}")
    return verdict


def _with_margin(was: str, verdict: Verdict, margin: float) -> Verdict:
    """Return the verdict, or one for the previously chosen engine if the new one is hardly faster."""
    engines = (verdict.measured or {}).get("engines", {})
    before, now = engines.get(was, {}), engines.get(verdict.engine, {})
    if verdict.engine == was or before.get("left_out") or not before.get("ms_per_item"):
        return verdict
    gain = min(before["ms_per_item"].values()) / min(now["ms_per_item"].values())
    if gain >= margin:
        return verdict
    reason = f"auto: {was}, as before: {verdict.engine} is {max(0.0, gain - 1):.0%} faster, less than {margin - 1:.0%}"
    return verdict._replace(engine=was, reason=f"{reason} ({verdict.reason})")


def main(arguments: Sequence[str]) -> int:
    """``[PATH, MARGIN, "idle" or ""]``: write what :func:`remeasure` returns, or ``{"error": text}``, to standard output, as JSON."""
    path, margin, idle = arguments
    told = os.dup(1)
    os.dup2(2, 1)  # engines print text that is not JSON
    os.nice(_NICE)  # requests come first
    try:
        result: Dict[str, Any] = remeasure(Path(path), float(margin), only_if_idle=bool(idle))
    except HubError as error:
        result = {"error": error.message}
    os.write(told, json.dumps(result).encode() + b"\n")
    return 0 if "error" not in result else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
