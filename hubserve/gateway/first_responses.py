"""Histogram of the time until a decoupled model's first response, with the buckets that its configuration asks for."""

from collections.abc import Mapping
from typing import Any

from hubserve.errors import LoadFailed
from hubserve.telemetry.histogram import Histogram

FAMILY = "nv_inference_first_response_histogram_ms"
_DEFAULT = (100.0, 500.0, 2000.0, 5000.0)


def first_response_histogram(model: str, config: Mapping[str, Any] | None) -> Histogram:
    """Return an empty histogram.

    Args:
        model: the model's name.
        config: of the model; None for none.
    Raises:
        LoadFailed: the buckets in its field ``model_metrics`` do not ascend.
    """
    for control in ((config or {}).get("model_metrics") or {}).get("metric_control", []):
        buckets = [float(each) for each in (control.get("histogram_options") or {}).get("buckets", [])]
        if (control.get("metric_identifier") or {}).get("family") == FAMILY and buckets:
            if sorted(set(buckets)) != buckets:
                raise LoadFailed(f"model '{model}': the buckets of {FAMILY} in model_metrics must ascend, got {buckets}. Sort them.")
            return Histogram(buckets)
    return Histogram(_DEFAULT)
