"""hubserve: every kind of module, on any engine, over every protocol, installed with one command."""

import sys

__version__ = "0.1.0"


def unsupported_platform() -> str:
    """Return why hubserve does not run on this operating system, in one sentence; "" on Linux, where it does.

    The gateway and its instances share sealed memory, pass descriptors and watch each other by means that only Linux has.
    """
    if sys.platform == "linux":
        return ""
    return f"hubserve runs on Linux only, and this is {sys.platform}. Run it in a Linux container, a virtual machine, or WSL 2 on Windows."
