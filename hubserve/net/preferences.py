"""Read what a client prefers from its headers ``Accept``, ``Accept-Encoding`` and ``Accept-Language``."""

_MOST_ENTRIES = 50


def preferences(value: str) -> dict[str, float]:
    """Return each entry of a header in lower case with its weight, 0 to 1, in the order of the header.

    Args:
        value: the header's, such as ``zh-CN,zh;q=0.9``; entries beyond the fiftieth, and weights that are not numbers, do not count.
    """
    found: dict[str, float] = {}
    for entry in value.split(",", _MOST_ENTRIES)[:_MOST_ENTRIES]:
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name:
            found.setdefault(name, _number(weight))
    return found


def accepts(value: str, name: str) -> bool:
    """Return True if a header names an entry itself, and not with the weight 0; a ``*`` does not count."""
    return preferences(value).get(name, 0.0) > 0


def _number(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
