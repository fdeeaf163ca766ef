"""hubserve says that it runs on Linux only, instead of failing at the first thing that another system lacks."""

import subprocess
import sys
from importlib import metadata

import pytest

#: modules that Windows does not have
_ABSENT = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")

_ELSEWHERE = """
import sys
sys.platform = {platform!r}
for name in {absent!r}:
    sys.modules[name] = None
"""


def elsewhere(platform: str, code: str) -> "subprocess.CompletedProcess[str]":
    """Run code where the system says it is another one, and has none of the modules that Windows lacks."""
    start = _ELSEWHERE.format(platform=platform, absent=_ABSENT)
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("platform", ["win32", "darwin", "freebsd14"])
@pytest.mark.parametrize("words", [[], ["serving", "start", "-m", "shout"], ["doctor"], ["--version"], ["no-such-command"]])
def test_hub_refuses_with_one_sentence(platform: str, words: list[str]) -> None:
    done = elsewhere(platform, f"from hubserve.cli import main\nsys.exit(main({words!r}))")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"hub: hubserve runs on Linux only, and this is {platform}. Run it in a Linux container, a virtual machine, or WSL 2 on Windows.\n"
    )


def test_so_does_python_m_hubserve() -> None:
    done = elsewhere("darwin", "import runpy\nsys.argv = ['hubserve', 'list']\nrunpy.run_module('hubserve', run_name='__main__')")
    assert (done.returncode, done.stderr.count("\n"), "runs on Linux only" in done.stderr) == (1, 1, True)


def test_the_flask_blueprint_cannot_be_imported_elsewhere_and_says_why() -> None:
    done = elsewhere("win32", "import hubserve.flask")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: hubserve runs on Linux only, and this is win32.")


def test_nothing_is_refused_here() -> None:
    done = subprocess.run([sys.executable, "-m", "hubserve", "version"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_metadata_say_linux() -> None:
    systems = [each for each in metadata.metadata("hubserve").get_all("Classifier") or [] if each.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
