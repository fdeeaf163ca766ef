"""Configuration files in the manner of PaddleHub's users, on real servers."""

import json
import shutil
from pathlib import Path

import requests

from tests.conftest import MODULES, Server, free_port, hub


def test_a_guides_config_with_comments_a_folder_beside_it_and_flags_is_served_from_elsewhere(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(MODULES / "shout", project / "modules" / "shout")
    port, other = free_port(), free_port()
    text = f"""// the module of the guide
    {{"modules_info": {{"shout": {{"init_args": {{"directory": "modules/shout"}}, "predict_args": null}},}},
      "port": "{port}", "use_singleprocess": true, "timeout": 30,  # seconds
    }}"""
    config = project / "config.json"
    config.write_bytes(b"\xef\xbb\xbf" + text.encode())
    words = ["-c", str(config), "--host", "127.0.0.2", "-p", str(other), "-w", "3"]
    server = Server(words, port, home, tmp_path / "log")
    server.url = f"http://127.0.0.2:{port}"
    try:
        server.wait_until_ready()
        assert server.results("shout", text="a") == "A!"
        assert len(server.status("shout")["instances"]) == 1
        log = server.log.read_text()
        assert log.count("hub: -p, -w have no effect beside -c, as in PaddleHub; set 'port', 'workers' in") == 1
        assert log.count("'timeout' has no effect") == 1
        assert log.count("'use_singleprocess' is read as \"use_multiprocess\": false") == 1
        config.write_text("{'modules_info': {'shout': {}}}")
        reloaded = hub("serving", "reload", "-p", port, home=home)
        assert reloaded.returncode == 1
        assert 'Write line 1 as: {"modules_info": {"shout": {}}}' in reloaded.stdout + reloaded.stderr
        assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200
    finally:
        server.process.kill()
        server.process.wait(60)


def test_the_doctor_reads_what_the_server_reads_and_names_what_has_no_effect(home: Path, tmp_path: Path) -> None:
    shutil.copytree(MODULES / "shout", tmp_path / "shout")
    listed = [{"module": "shout", "batch_size": 8, "init_args": {"directory": "shout"}, "workers": "1"}]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": listed, "port": str(free_port()), "timeout": 1}) + " // end")
    done = hub("doctor", config, "--json", home=home, cwd="/tmp")
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 0, findings
    assert {"timeout", "modules_info.0.batch_size", "config.json"} <= {each["about"] for each in findings}
    config.write_text(json.dumps({"modules_info": {"shout": {"init_args": {"directory": "nowhere/shout"}}}}))
    done = hub("doctor", config, "--json", home=home, cwd="/tmp")
    assert done.returncode == 1
    assert f"'{tmp_path}/nowhere/shout'" in done.stdout
