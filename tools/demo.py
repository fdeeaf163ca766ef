"""Install the default classifier, serve it, and classify a real photo through the server, in one command."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"
BIN = Path(sys.executable).parent
START_TIMEOUT_S = 180


def show(*command: object) -> None:
    """Run a command as a user would type it, showing it first; end if it fails."""
    words = [str(each) for each in command]
    print("\n$ " + " ".join(words), flush=True)
    subprocess.run([str(BIN / words[0]), *words[1:]], cwd=ROOT, check=True)


def find_photo() -> Path:
    """Return a real photo: scikit-image's cat."""
    from skimage import data

    PLACE.mkdir(exist_ok=True)
    return Path(shutil.copy(Path(data.__file__).parent / "chelsea.png", PLACE / "cat.png"))


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until every module of the server can answer."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the server ended with status {server.returncode}; its messages are above")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    sys.exit(f"the server was not ready within {START_TIMEOUT_S} s; its messages are above")


def main() -> None:
    """Run the demonstration."""
    os.environ["HUB_HOME"] = str(PLACE / "home")  # leaves the user's own modules alone
    os.environ.pop("PYTHONPATH", None)
    photo, port = find_photo(), free_port()
    show("hub", "install", "hubmodules/clas/")
    show("hub", "list")
    command = ["hub", "serving", "start", "-m", "clas_system", "-p", str(port)]
    print("\n$ " + " ".join(command) + " &", flush=True)
    server = subprocess.Popen([str(BIN / command[0]), *command[1:]], cwd=ROOT)
    try:
        wait_until_ready(server, port)
        url = f"http://127.0.0.1:{port}/predict/clas_system"
        show("python", "tools/test_client.py", "--server_url", url, "--image_file", photo.relative_to(ROOT))
        print(f"\n$ curl --data-binary @{photo.relative_to(ROOT)} -H 'Content-Type: image/png' {url}")
        request = urllib.request.Request(url, photo.read_bytes(), {"Content-Type": "image/png"})
        print(urllib.request.urlopen(request, timeout=60).read().decode())
        show("hub", "serving", "stop", "-p", port)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
