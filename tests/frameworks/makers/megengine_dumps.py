"""Dump networks with the tool of MegEngine's guide: ``NAME.mge`` and ``NAME_pictures.mge``, with the preprocessing inside, of each."""

import importlib.util
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[3] / "tools" / "dump_megengine.py"


def main():
    """Write the files."""
    spec = importlib.util.spec_from_file_location("dump_megengine", str(TOOL))
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = Path(sys.argv[1])
    for name, architecture in tool.ARCHITECTURES.items():
        side = str(architecture.side_px)
        tool.main(["-a", name, "-s", "1", "3", side, side, "-o", str(folder / (name + ".mge"))])
        tool.main(["-a", name, "-s", "1", side, side, "3", "-o", str(folder / (name + "_pictures.mge"))])


if __name__ == "__main__":
    main()
