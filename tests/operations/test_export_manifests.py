"""Units and manifests of ``hub export`` are valid by the programs and schemas that read them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubserve.export import get_target
from hubserve.export.plan import Options, make_plan
from tests.conftest import MODULES, hub
from tests.operations.programs import MISSING, program
from tests.triton_models import write_scale

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason=f"{MISSING} 'kubernetes-validate': pip install 'hubserve[operations]'"
)
#: a folder with KServe's sources, whose resource definitions are read
KSERVE_SOURCES = "HUBSERVE_KSERVE_SOURCES"
#: kinds of Prometheus' operator, kustomize and KServe, which Kubernetes itself does not have
FOREIGN = ("ServiceMonitor", "Kustomization", "ServingRuntime", "InferenceService")


@pytest.fixture(params=["plain", "guarded"])
def config(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Path:
    """A configuration without and one with certificates, keys, ports of their own and a GPU."""
    write_scale(tmp_path / "store", "scale")
    settings: dict[str, Any] = {
        "modules_info": {"doubler": {"init_args": {"directory": str(MODULES / "doubler")}}},
        "model_store": ["store"],
        "port": 8001,
        "grpc_port": 8002,
    }
    if request.param == "guarded":
        for name in ("cert.pem", "key.pem", "ca.pem", "keys.json"):
            (tmp_path / name).write_text("PEM")
        settings |= {"tls_cert": "cert.pem", "tls_key": "key.pem", "tls_client_ca": "ca.pem", "metrics_port": 8003, "grpc_port": 8001}
        settings |= {"access_keys": "keys.json", "admin_socket": "admin.sock", "trace_endpoint": "http://127.0.0.1:4318"}
        settings |= {"trace_headers": {"authorization": "Bearer x"}}
        settings |= {"use_gpu": True, "gpu": "0,1", "drain_timeout_s": 90}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    return path


def rendered(name: str, config: Path, models: str = "inside") -> dict[str, str]:
    target = get_target(name)
    plan = make_plan(config, target.places, target.host, Options(models=models), lambda text: None)
    return target.render(plan).texts


def documents(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [each for path, text in texts.items() if path.endswith((".yaml", ".yml")) for each in yaml.safe_load_all(text)]


@pytest.mark.parametrize("models", ["inside", "mounted"])
def test_manifests_are_valid_by_the_schemas_of_kubernetes(config: Path, models: str) -> None:
    checked = 0
    for each in documents(rendered("kubernetes", config, models)):
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
            checked += 1
    assert checked == 6 + (models == "mounted")


def test_names_and_ports_of_manifests_agree(config: Path) -> None:
    by_kind = {each["kind"]: each for each in documents(rendered("kubernetes", config))}
    pod = by_kind["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert {each["targetPort"] for each in by_kind["Service"]["spec"]["ports"]} <= set(ports)
    assert {each["port"] for each in by_kind["NetworkPolicy"]["spec"]["ingress"][0]["ports"]} <= set(ports)
    assert by_kind["ServiceMonitor"]["spec"]["endpoints"][0]["port"] in ports
    assert by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == by_kind["Deployment"]["metadata"]["name"]
    for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget"):
        spec = by_kind[kind]["spec"]
        selector = spec.get("podSelector", spec.get("selector", {}))
        assert selector.get("matchLabels", selector) == pod["metadata"]["labels"]
    settings = json.loads(by_kind["ConfigMap"]["data"]["config.json"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > settings.get("drain_timeout_s", 30) + 5
    mounts, volumes = {each["name"] for each in container["volumeMounts"]}, {each["name"] for each in pod["spec"]["volumes"]}
    assert mounts == volumes


def test_runtimes_of_kserve_have_valid_containers(config: Path) -> None:
    runtimes = [each for each in documents(rendered("kserve", config)) if each["kind"] == "ServingRuntime"]
    assert len(runtimes) == 3
    for each in runtimes:
        spec = {"containers": each["spec"]["containers"], "volumes": each["spec"]["volumes"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_documents_for_kserve_are_valid_by_its_definitions(config: Path) -> None:
    import jsonschema

    sources = os.environ.get(KSERVE_SOURCES)
    if not sources:
        pytest.skip(f"{MISSING} reads KServe's definitions: name a folder of its sources by {KSERVE_SOURCES}")
    folder = Path(sources, "config", "crd", "full")
    for each in documents(rendered("kserve", config)):
        definition = yaml.safe_load((folder / f"serving.kserve.io_{each['kind'].lower()}s.yaml").read_text("utf-8"))
        version = next(one for one in definition["spec"]["versions"] if f"serving.kserve.io/{one['name']}" == each["apiVersion"])
        schema = closed(version["schema"]["openAPIV3Schema"])
        jsonschema.Draft202012Validator(schema).validate(each)


def closed(schema: Any) -> Any:
    """Return a schema that refuses keys which it does not name, as the API server drops them; ``metadata`` is open there."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    is_object = isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def test_the_unit_is_what_systemd_reads_and_exposes_little(config: Path, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    texts = rendered("systemd", config)
    unit = tmp_path / "hubserve.service"
    # programs of the unit are looked up on this machine
    unit.write_text(texts["hubserve.service"].replace("/opt/hubserve/current/bin/hub", "/bin/true").replace("User=hubserve", "User=root"))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "hubserve" in line]) == (0, [])
    unit.write_text(texts["hubserve.service"])
    command = [analyze, "security", "--offline=true", "--threshold=25", str(unit)]  # tenths of the exposure from 0 to 10
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]
    subprocess.run(["sh", "-n"], input=texts["install.sh"], text=True, check=True)


def test_compose_has_what_it_mounts_and_scrapes_the_port_of_metrics(config: Path, home: Path, tmp_path: Path) -> None:
    done = hub("export", "compose", "-c", config, "-o", tmp_path / "out", "--extras", "", home=home)
    assert done.returncode == 0, done.stderr
    compose = yaml.safe_load((tmp_path / "out" / "docker-compose.yml").read_text())
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (tmp_path / "out" / source).is_dir() if source.startswith(".") else source in compose["volumes"], volume
    prometheus = yaml.safe_load((tmp_path / "out" / "prometheus" / "prometheus.yml").read_text())
    settings = json.loads((tmp_path / "out" / "image" / "config.json").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"hubserve:{settings.get('metrics_port', settings['port'])}"]
    alerts = yaml.safe_load((tmp_path / "out" / "prometheus" / "alerts.yml").read_text())
    assert all(rule["expr"] and rule["alert"] for group in alerts["groups"] for rule in group["rules"])
    assert json.loads((tmp_path / "out" / "grafana" / "dashboards" / "hubserve.json").read_text())["panels"]
