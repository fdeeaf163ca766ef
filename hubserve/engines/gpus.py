"""Count the GPUs of this machine, without importing a framework."""

from pathlib import Path


def gpu_count() -> int:
    """Return how many NVIDIA GPUs this machine, or this container, has."""
    return len([each for each in Path("/dev").glob("nvidia[0-9]*") if each.name[6:].isdigit()])
