"""What ``hub export`` writes, for every target, and what it never copies."""

import json
import stat
from pathlib import Path

import pytest
import yaml

from hubserve.config_file.lenient_json import parse_json
from hubserve.errors import ConfigError, HubError
from hubserve.export import TARGETS, get_target
from hubserve.export.base import yaml_text
from hubserve.export.packages import installed_extras, pinned_packages, requirements_text
from hubserve.export.plan import ExportPlan, Options, make_plan
from hubserve.export.systemd import unit_text
from hubserve.export.writer import check_folder, write_export
from hubserve.registry.progress import silent
from hubserve.settings import parse_settings
from tests.conftest import MODULES, hub_here
from tests.triton_models import write_scale

SECRET = "-----BEGIN PRIVATE KEY----- never copied"


@pytest.fixture
def config(tmp_path: Path, home: Path) -> Path:
    """A configuration with a module, a store, certificates and gRPC."""
    write_scale(tmp_path / "store", "scale")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text(SECRET)
    settings = {
        "modules_info": {"doubler": {"init_args": {"directory": str(MODULES / "doubler")}, "max_batch_size": 4}},
        "model_store": ["store"],
        "port": 8001,
        "grpc_port": 8002,
        "grpc_tls_cert": "cert.pem",
        "grpc_tls_key": "key.pem",
        "trace_dir": "traces",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    return path


def plan_for(name: str, config: Path, **options: object) -> ExportPlan:
    target = get_target(name)
    return make_plan(config, target.places, target.host, Options(**options), lambda text: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_writes_a_configuration_that_is_valid_and_has_no_path_of_this_machine(name: str, config: Path, tmp_path: Path) -> None:
    plan = plan_for(name, config)
    written = get_target(name).render(plan)
    text = next(text for path, text in written.texts.items() if path.endswith("config.json"))
    settings = parse_settings(parse_json(text.encode()).value, "exported")
    assert str(tmp_path) not in text
    assert str(MODULES) not in text
    assert settings.modules_info["doubler"].init_args == {"version": "1.0.0"}
    assert settings.modules_info["doubler"].max_batch_size == 4
    assert settings.model_store == [f"{plan.places.models}/store"]
    assert (settings.port, settings.grpc_port) == (8001, 8002)
    assert settings.host == ("127.0.0.1" if name == "systemd" else "0.0.0.0")
    assert settings.grpc_tls_key == f"{plan.places.secrets}/grpc-tls-key.pem"
    assert settings.trace_dir == f"{plan.places.data}/traces"
    assert written.next_steps
    assert get_target(name).summary


@pytest.mark.parametrize("models", ["inside", "mounted"])
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_yaml_can_be_read_and_secrets_are_named_and_not_copied(name: str, models: str, config: Path) -> None:
    written = get_target(name).render(plan_for(name, config, models=models))
    for path, text in written.texts.items():
        assert SECRET not in text, path
        if path.endswith((".yml", ".yaml")):
            assert all(isinstance(each, dict) for each in yaml.safe_load_all(text)), path
    everything = "\n".join(written.texts.values()) + "\n".join(command for command, _ in written.next_steps)
    assert "grpc-tls-key.pem" in everything


def test_an_export_lists_its_files_secrets_and_next_commands(config: Path, home: Path, tmp_path: Path) -> None:
    done = hub_here("export", "systemd", "-c", config, "-o", tmp_path / "out", "--extras", "", home=home)
    assert done.returncode == 0, done.stderr
    assert "modules/doubler-1.0.0.tar.gz" in done.stdout
    assert f"Not copied: {tmp_path / 'key.pem'} (grpc_tls_key)" in done.stdout
    assert "sudo ./install.sh" in done.stdout
    files = {each.relative_to(tmp_path / "out").as_posix() for each in (tmp_path / "out").rglob("*") if each.is_file()}
    assert {"hubserve.service", "install.sh", "models/store/scale/1/model.onnx", "requirements.txt"} <= files
    assert SECRET.encode() not in b"".join((tmp_path / "out" / each).read_bytes() for each in files)
    assert (tmp_path / "out" / "install.sh").stat().st_mode & stat.S_IXUSR
    again = hub_here("export", "systemd", "-c", config, "-o", tmp_path / "out", home=home)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    assert "--force" in again.stderr


def test_a_file_that_cannot_be_written_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    from hubserve.export.base import Written

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")

    def fails(_folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(HubError, match="disk full"):
        write_export(Written({"new": "new"}, [fails]), tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "kept").read_text() == "kept"
    with pytest.raises(ConfigError, match="not empty"):
        check_folder(tmp_path / "out", force=False)
    check_folder(tmp_path / "out", force=True)


def test_a_port_that_nobody_could_know_is_refused(config: Path) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), "port": 0}))
    with pytest.raises(ConfigError, match="'port' is 0"):
        plan_for("docker", config)


def test_certificates_for_listeners_are_secrets_and_the_port_of_the_admin_surface_is_not_published(config: Path, tmp_path: Path) -> None:
    document = json.loads(config.read_text())
    document["modules_info"]["doubler"] |= {
        "addresses": ["worker:9000"],
        "remote_cert": "a.pem",
        "remote_key": "a.key",
        "remote_ca": "ca.pem",
    }
    document |= {"admin_port": 8005, "metrics_port": 8006}
    for name in ("a.pem", "a.key", "ca.pem"):
        (tmp_path / name).write_text(SECRET)
    config.write_text(json.dumps(document))
    for name in TARGETS:
        plan = plan_for(name, config)
        written = get_target(name).render(plan)
        module = plan.config()["modules_info"]["doubler"]
        assert module["remote_key"] == f"{plan.places.secrets}/doubler-remote-key.key"
        assert module["remote_ca"] == f"{plan.places.secrets}/doubler-remote-ca.pem"
        assert SECRET not in "\n".join(written.texts.values())
        everything = "\n".join(text for path, text in written.texts.items() if not path.endswith("config.json"))
        assert "8006" in everything or name == "systemd"
        if name != "kubernetes":  # there it is a port of the container, which its service does not have
            assert "8005" not in everything
    texts = get_target("kubernetes").render(plan_for("kubernetes", config)).texts
    found = [each for path, text in texts.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text)]
    kinds = {each["kind"]: each for each in found if isinstance(each, dict) and "kind" in each}
    assert [each["port"] for each in kinds["Service"]["spec"]["ports"]] == [8001, 8002, 8006]


def test_a_unit_may_bind_low_ports_only_where_it_has_one(config: Path) -> None:
    assert "AmbientCapabilities=\n" in unit_text(plan_for("systemd", config))
    config.write_text(json.dumps({**json.loads(config.read_text()), "port": 443}))
    unit = unit_text(plan_for("systemd", config))
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit


def test_keys_sockets_and_headers_of_traces_are_those_of_the_other_machine(config: Path, tmp_path: Path) -> None:
    more = {"access_keys": "keys.json", "admin_socket": "admin.sock", "trace_endpoint": "http://127.0.0.1:4318"}
    more |= {"trace_headers": {"authorization": f"Bearer {SECRET}"}}
    (tmp_path / "keys.json").write_text(SECRET)
    config.write_text(json.dumps({**json.loads(config.read_text()), **more}))
    for name in TARGETS:
        plan = plan_for(name, config)
        written = get_target(name).render(plan)
        settings = plan.config()
        assert settings["access_keys"] == f"{plan.places.secrets}/access-keys.json"
        assert settings["admin_socket"] == f"{plan.places.sockets}/admin.sock"
        assert settings["trace_endpoint"] == "http://127.0.0.1:4318"
        everything = "\n".join([*written.texts.values(), *(command for command, _ in written.next_steps)])
        assert SECRET not in everything
        assert "OTEL_EXPORTER_OTLP_HEADERS" in everything
        assert any("may hold a password" in each for each in plan.notes)
        assert any("set metrics_port to scrape" in each for each in plan.notes)
    assert "RuntimeDirectory=hubserve\n" in unit_text(plan_for("systemd", config))


def test_texts_of_several_lines_stay_readable_in_yaml() -> None:
    assert yaml_text({"a": "1\n2\n", "b": "c"}) == "a: |\n  1\n  2\nb: c\n"


def test_pins_are_what_is_installed_and_without_the_tools_of_tests() -> None:
    pins = {each.partition("==")[0] for each in pinned_packages(["grpc"], [])}
    assert {"numpy", "starlette", "grpcio", "hpack"} <= pins
    assert not pins & {"pytest", "mypy", "hubserve"}
    assert "test" not in installed_extras()
    with pytest.raises(ConfigError, match="no extra 'nonsense'"):
        pinned_packages(["nonsense"], [])


def test_an_index_that_cannot_be_asked_for_digests_is_a_note(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    pytest.importorskip("uv")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    notes: list[str] = []
    text = requirements_text(["numpy==2.0.0"], silent, notes)
    assert text == "numpy==2.0.0\n"
    (note,) = notes
    assert "uv cannot ask the package index" in note
