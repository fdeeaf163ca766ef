"""A module's numbers in the protocol's JSON."""

from typing import Any

from hubserve.gateway.dataplane import ServedModule
from hubserve.gateway.statistics import Execution, Responses, Tally


def model_statistics(module: ServedModule) -> dict[str, Any]:
    """One element of ``model_stats``."""
    counted = module.statistics
    return {
        "name": module.plan.info.name,
        "version": module.plan.info.version,
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            **_execution(counted.computed),
            "cache_hit": _duration(counted.cache_hit),
            "cache_miss": _duration(counted.cache_miss),
        },
        "response_stats": {str(position): _responses(each) for position, each in sorted(counted.responses.items())},
        "batch_stats": [{"batch_size": items, **_execution(each)} for items, each in counted.by_batch_size()],
        "memory_usage": [],
    }


def _duration(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": tally.ns}


def _execution(execution: Execution) -> dict[str, Any]:
    return {
        "compute_input": _duration(execution.compute_input),
        "compute_infer": _duration(execution.compute_infer),
        "compute_output": _duration(execution.compute_output),
    }


def _responses(responses: Responses) -> dict[str, Any]:
    return {
        "compute_infer": _duration(responses.compute_infer),
        "compute_output": _duration(responses.compute_output),
        "success": _duration(responses.success),
        "fail": _duration(responses.fail),
        "empty_response": _duration(responses.empty),
        "cancel": _duration(responses.cancel),
    }
