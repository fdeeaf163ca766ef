"""Limits and names of the metrics that modules publish: what an instance offers, and what the gateway takes from it."""

import re

#: a name of a family, and of a label, as Prometheus has them
NAME = r"\A[a-zA-Z_:][a-zA-Z0-9_:]{0,199}\Z"
LABEL = r"\A(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,99}\Z"
#: first parts of names that are the server's own
RESERVED = ("hubserve_", "process_", "nv_inference_", "nv_cache_", "nv_gpu_", "nv_cpu_", "nv_energy_", "nv_pinned_memory_")
MAX_FAMILIES = 100
#: of one instance, and of a module
MAX_SERIES = 1000
#: numbers in all series of an instance: one for a counter or a gauge, one for each bucket of a histogram and two more
MAX_NUMBERS = 10_000
MAX_LABELS = 16
MAX_LABEL_CHARACTERS = 256
MAX_DESCRIPTION_CHARACTERS = 1000
MAX_BUCKETS = 100

#: control characters, ends of lines, and halves of characters, which UTF-8 cannot express
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME = re.compile(NAME)
_LABEL = re.compile(LABEL)


def is_name(name: str) -> bool:
    """Return True for a name that a family may have."""
    return bool(_NAME.match(name)) and not name.startswith(RESERVED)


def is_label(name: str, is_histogram: bool) -> bool:
    """Return True for a name that a label may have; ``le`` is taken by the buckets of histograms."""
    return bool(_LABEL.match(name)) and not (is_histogram and name == "le")


def plain(text: str) -> str:
    """Return a text that may be the value of a label or a description: odd characters are spaces."""
    return _ODD.sub(" ", text)


def is_plain(text: str) -> bool:
    """Return True if a text has no odd characters."""
    return not _ODD.search(text)
