"""``python -m hubserve.bench.raw_engine_process``: compute synthetic batches with a module's engine, as an instance does.

It reads one JSON object a line: first an instance's order to load, then rounds to measure; and answers each with a line.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import hubserve
from hubserve.bench.payloads import sample_inputs
from hubserve.errors import HubError
from hubserve.instance.guard import guarded
from hubserve.instance.parent_death import die_with_parent
from hubserve.kinds import LoadedModule, get_kind


def main() -> int:
    """Handle orders until the input ends."""
    die_with_parent()
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of a module must not mix with the answers
        # behind everything else, as for an instance: a real paddlehub in this environment is preferred
        sys.path.append(str(Path(hubserve.__file__).parent / "compat"))
        module: LoadedModule | None = None
        for line in sys.stdin:
            order = json.loads(line)
            try:
                if module is None:
                    module, max_batch_size = _load(order)
                    answer: dict[str, Any] = {"engine": (module.description.engine or {}).get("name", "")}
                else:
                    answer = {"items_per_s": _measure(module, max_batch_size, order)}
            except HubError as error:
                answer = {"error": error.message}
            print(json.dumps(answer), file=answers)
    return 0


def _load(order: dict[str, Any]) -> tuple[LoadedModule, int]:
    kind = get_kind(order["kind"])
    module = guarded(lambda: kind.load(Path(order["folder"]), order["import_name"], order["init_args"], order["defaults"]))
    limits = [each for each in (order["max_batch_size"], module.description.max_batch_size) if each]
    return module, min(limits)


def _measure(module: LoadedModule, max_batch_size: int, order: dict[str, Any]) -> float:
    """Return items per second; a batch over the module's limit is computed in parts, as by its instance."""
    batch_size: int = order["batch_size"]
    inputs = sample_inputs(order["module"], batch_size, order["shape"])
    starts = range(0, batch_size, max_batch_size)
    parts = [{name: array[start : start + max_batch_size] for name, array in inputs.items()} for start in starts]

    def compute() -> None:
        for part in parts:
            module.call_tensors(part)

    began = time.monotonic()
    guarded(compute)  # the first may take much longer than the others
    while time.monotonic() - began < order["warm_up_s"]:
        guarded(compute)
    count, start = 0, time.monotonic()
    while (now := time.monotonic()) - start < order["seconds"]:
        guarded(compute)
        count += 1
    now = time.monotonic()
    return count * batch_size / (now - start)


if __name__ == "__main__":
    sys.exit(main())
