"""``hub export compose``: a server with Prometheus and Grafana beside it."""

from importlib import resources
from typing import Any

from hubserve.export.base import Target, Written, yaml_text
from hubserve.export.image import UID, image_texts, package_files
from hubserve.export.plan import ExportPlan

PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
GRAFANA_IMAGE = "grafana/grafana:12.1.1"


class Compose(Target):
    """``docker-compose.yml`` with the image's folder, and Prometheus and Grafana set up."""

    summary = "a docker-compose.yml with Prometheus and Grafana"

    def render(self, plan: ExportPlan) -> Written:
        """See the base class."""
        texts = {
            **image_texts(plan, "image/"),
            "docker-compose.yml": yaml_text(compose_document(plan)),
            "prometheus/prometheus.yml": yaml_text(_prometheus(plan)),
            "prometheus/alerts.yml": data_text("prometheus-alerts.yml"),
            "grafana/provisioning/datasources/prometheus.yml": yaml_text(_datasource()),
            "grafana/provisioning/dashboards/hubserve.yml": yaml_text(_provider()),
            "grafana/dashboards/hubserve.json": data_text("grafana-dashboard.json"),
            ".env": "# password of Grafana's user admin; change it before the first start\nGRAFANA_PASSWORD=\n",
        }
        steps = [
            ('sed -i "s/^GRAFANA_PASSWORD=.*/GRAFANA_PASSWORD=$(openssl rand -hex 16)/" .env', "choose Grafana's password"),
            ("docker compose build", "build the image"),
            ("docker compose up -d", "serve"),
            (f"curl http://127.0.0.1:{plan.settings.port}/health/ready", "see that it is ready; Grafana is at http://127.0.0.1:3000"),
        ]
        return Written(texts, [package_files(plan, "image")], next_steps=steps)


def data_text(name: str) -> str:
    """Return a file of the package's data, such as the dashboard."""
    return resources.files("hubserve.export").joinpath(f"data/{name}").read_text("utf-8")


def compose_document(plan: ExportPlan) -> dict[str, Any]:
    """Return the content of ``docker-compose.yml``."""
    server = _server(plan)
    services: dict[str, Any] = {"hubserve": server}
    volumes: dict[str, Any] = {"prometheus-data": {}, "grafana-data": {}, "hubserve-data": {}}
    document: dict[str, Any] = {"name": f"hubserve-{plan.name}", "services": services}
    if plan.options.models == "mounted":
        volumes["hubserve-home"] = {}
        commands = plan.found.install_commands(plan.places.bundles)
        services["install"] = {
            **{key: server[key] for key in ("image", "volumes", "cap_drop", "security_opt")},
            "entrypoint": ["bash", "-c"],
            "command": [" && ".join(commands) or "true"],
            "restart": "no",
        }
        server["depends_on"] = {"install": {"condition": "service_completed_successfully"}}
    if plan.secrets:
        server["secrets"] = [{"source": each.name, "target": f"{plan.places.secrets}/{each.name}"} for each in plan.secrets]
        document["secrets"] = {each.name: {"file": str(each.source)} for each in plan.secrets}
    services["prometheus"] = {
        "image": PROMETHEUS_IMAGE,
        "command": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.retention.time=15d"],
        "volumes": ["./prometheus:/etc/prometheus:ro", "prometheus-data:/prometheus"],
        "ports": ["127.0.0.1:9090:9090"],
        "restart": "unless-stopped",
    }
    services["grafana"] = {
        "image": GRAFANA_IMAGE,
        "environment": {
            "GF_SECURITY_ADMIN_PASSWORD": "${GRAFANA_PASSWORD:?set GRAFANA_PASSWORD in .env}",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
        },
        "volumes": [
            "./grafana/provisioning:/etc/grafana/provisioning:ro",
            "./grafana/dashboards:/var/lib/grafana/dashboards:ro",
            "grafana-data:/var/lib/grafana",
        ],
        "ports": ["127.0.0.1:3000:3000"],
        "depends_on": ["prometheus"],
        "restart": "unless-stopped",
    }
    return {**document, "volumes": volumes}


def _server(plan: ExportPlan) -> dict[str, Any]:
    places = plan.places
    volumes = [f"hubserve-data:{places.data}"]
    if plan.options.models == "mounted":
        volumes += [f"./image/models:{places.models}:ro", f"./image/modules:{places.bundles}:ro", f"hubserve-home:{places.home}"]
    limits: dict[str, Any] = {"cpus": str(plan.options.cpus), "memory": f"{plan.memory_mb}M"}
    resources_: dict[str, Any] = {"limits": limits}
    if plan.gpus:
        resources_["reservations"] = {"devices": [{"driver": "nvidia", "count": plan.gpus, "capabilities": ["gpu"]}]}
    # with the values that the environment, or .env, has
    variables = {"environment": plan.variables} if plan.variables else {}
    return {
        "image": plan.image,
        "build": {"context": "./image"},
        "user": f"{UID}:{UID}",
        "ports": [f"{port}:{port}" for name, port in plan.public_ports.items() if name != "metrics"],
        **variables,
        "volumes": volumes,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": f"{plan.drain_s + 5}s",
        "deploy": {"resources": resources_},
        "restart": "unless-stopped",
    }


def _prometheus(plan: ExportPlan) -> dict[str, Any]:
    job: dict[str, Any] = {"job_name": "hubserve", "scheme": "https" if plan.uses_tls else "http"}
    if plan.uses_tls:
        job["tls_config"] = {"insecure_skip_verify": True}  # the certificate has the public name, not that of the service
    job["static_configs"] = [{"targets": [f"hubserve:{plan.metrics_port}"]}]
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["/etc/prometheus/alerts.yml"],
        "scrape_configs": [job],
    }


def _datasource() -> dict[str, Any]:
    source = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "http://prometheus:9090",
        "isDefault": True,
    }
    return {"apiVersion": 1, "datasources": [source]}


def _provider() -> dict[str, Any]:
    provider = {"name": "hubserve", "type": "file", "disableDeletion": True, "options": {"path": "/var/lib/grafana/dashboards"}}
    return {"apiVersion": 1, "providers": [provider]}
