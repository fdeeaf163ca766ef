"""Debian's logrotate moves, truncates and compresses the logs of a running server."""

import gzip
import shutil
import subprocess

import pytest

from tests.conftest import toy, wait_for

LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin")


@pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")
@pytest.mark.parametrize("how", ["create 0640", "nocreate", "copytruncate"])
def test_lines_go_on_after_logrotate_and_none_is_lost(start, tmp_path, how):
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o750)
    path = folder / "hub.log"
    server = start({"talkative": toy("talkative")}, log_file=str(path), access_log="text")
    config = tmp_path / "logrotate.conf"
    config.write_text(f"{path} {{\n    rotate 9\n    {how}\n    compress\n    delaycompress\n    missingok\n}}\n")
    for number in range(4):
        server.predict("talkative", json={"text": f"number {number}"}, headers={"X-Request-Id": f"id-{number}"})
        words = (f"[request id-{number}] number {number}", f"request_id=id-{number}")
        wait_for(lambda words=words: path.exists() and all(each in path.read_text() for each in words))
        subprocess.run([LOGROTATE, "--force", "--state", str(tmp_path / "state"), str(config)], check=True)
    files = [(each.suffix, each.read_bytes()) for each in folder.iterdir()]
    texts = [(gzip.decompress(data) if suffix == ".gz" else data).decode() for suffix, data in files]
    assert len(texts) >= 4
    for number in range(4):
        assert sum(f"] number {number}\n" in text for text in texts) == 1
