"""Test that the names of a profile are imported in its environment, one after the other."""

import subprocess
import sys
from pathlib import Path

from hubserve.registry.environments.environment_record import Environment, environments_dir
from hubserve.registry.environments.import_probe import failed_imports
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.tools.process import Downloads


def test_a_name_that_ends_the_process_fails_and_the_others_are_still_imported(home: Path) -> None:
    folder = environments_dir(home) / "3-tried"
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    environ = {"WANTED": "${environment}/data"}
    made = Environment(folder, host().version, host().path, host().platform, (), "", "uv", "now", 0, environ=environ)
    codes = {
        "crashes": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
        "leaves": "import os\nos._exit(3)\n",
        "quits": "import sys\nsys.exit(4)\n",
        "broken": "import not_there_at_all\n",
        "talks": "print('hub-import:end:crashes:')\nprint('no line ends here', end='')\n",
        "asks": f"import os\nassert os.environ['WANTED'] == {str(folder / 'data')!r}\n",
    }
    for name, code in codes.items():
        (made.site_packages / f"{name}.py").write_text(code)
    assert failed_imports(home, made, ["json", "json.JSONDecoder", "os.path.join", *codes, "sqlite3.none"]) == {
        "crashes": "its import ended the process by SIGSEGV",
        "leaves": "its import ended the process with status 3",
        "quits": "SystemExit: 4",
        "broken": "ModuleNotFoundError: No module named 'not_there_at_all'",
        "sqlite3.none": "ModuleNotFoundError: No module named 'sqlite3.none'",
    }


def test_downloads_are_counted_from_the_output_of_uv_and_pip() -> None:
    uv = Downloads()
    assert uv.after("Resolved 138 packages in 1.90s") == (0, 0)
    assert uv.after("Downloading pip (1.5MiB)") == (0, 3 << 19)
    assert uv.after("Downloading lxml (5.0MiB)")[1] == 13 << 19
    assert uv.after(" Downloaded lxml") == (10 << 19, 13 << 19)
    assert uv.after(" Downloaded pip") == (13 << 19, 13 << 19)
    pip = Downloads()
    assert pip.after("  Downloading numpy-1.23.5-cp38-cp38-manylinux.whl (17.1 MB)") == (0, 17_100_000)
    assert pip.after("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)") == (17_100_000, 17_111_000)
    assert pip.after("  Downloading https://index.example/simple") == (17_100_000, 17_111_000)
