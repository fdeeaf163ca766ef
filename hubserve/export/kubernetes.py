"""``hub export kubernetes``: manifests with probes, limits, autoscaling and as few rights as a server needs."""

from typing import Any

from hubserve.export.base import Target, Written, yaml_text
from hubserve.export.docker import docker_steps
from hubserve.export.image import UID, image_texts, package_files
from hubserve.export.plan import ExportPlan

#: requests that may wait at one replica before another is started, on average
_PENDING_PER_REPLICA = "4"
PENDING_METRIC = "nv_inference_pending_request_count"
_MOST_REPLICAS = 10


class Kubernetes(Target):
    """Deployment, Service, ConfigMap, HorizontalPodAutoscaler, PodDisruptionBudget, NetworkPolicy and ServiceMonitor."""

    summary = "manifests for Kubernetes"

    def render(self, plan: ExportPlan) -> Written:
        """See the base class."""
        documents = {
            "configmap": _config_map(plan),
            "deployment": _deployment(plan),
            "service": _service(plan),
            "hpa": _autoscaler(plan),
            "pdb": _disruption_budget(plan),
            "networkpolicy": _network_policy(plan),
        }
        if plan.options.models == "mounted":
            documents["pvc"] = _claim(plan)
        texts = {f"{name}.yaml": yaml_text(document) for name, document in documents.items()}
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [*texts]}
        texts["kustomization.yaml"] = yaml_text(kustomization)
        # kinds that a cluster has only with Prometheus' operator
        texts["optional/servicemonitor.yaml"] = yaml_text(_service_monitor(plan))
        build = docker_steps(plan)[0][0].replace(" .", " image")
        steps = [(build, "build the image"), (f"docker push {plan.image}", "to a registry that the cluster reads; name it with --image")]
        if plan.secrets:
            files = " ".join(f"--from-file={each.name}={each.source}" for each in plan.secrets)
            steps.append((f"kubectl create secret generic {plan.name}-secrets {files}", "certificates and keys"))
        steps += credential_steps(plan)
        steps += [("kubectl apply -k .", "serve"), (f"kubectl rollout status deployment/{plan.name}", "see that it is ready")]
        steps.append(("kubectl apply -f optional/servicemonitor.yaml", "with Prometheus' operator: collect the metrics"))
        return Written({**texts, **image_texts(plan, "image/")}, [package_files(plan, "image")], next_steps=steps)


def labels(plan: ExportPlan) -> dict[str, str]:
    """Return the labels that select the pods."""
    return {"app.kubernetes.io/name": "hubserve", "app.kubernetes.io/instance": plan.name}


def _metadata(plan: ExportPlan, suffix: str = "") -> dict[str, Any]:
    return {"name": plan.name + suffix, "labels": labels(plan)}


def credentials(plan: ExportPlan) -> dict[str, Any]:
    """Return what gives a container the credentials for remote stores: a Secret, without which the pod's own account is used."""
    if not plan.variables:
        return {}
    return {"envFrom": [{"secretRef": {"name": f"{plan.name}-credentials", "optional": True}}]}


def credential_steps(plan: ExportPlan) -> list[tuple[str, str]]:
    """Return the command that makes the Secret of :func:`credentials`."""
    if not plan.variables:
        return []
    names = "".join(f' ${{{each}:+"--from-literal={each}=${each}"}}' for each in plan.variables)
    return [(f"kubectl create secret generic {plan.name}-credentials{names}", "credentials for the model stores, from this environment")]


def pod_security() -> dict[str, Any]:
    """Return the security context of a pod."""
    context = {"runAsNonRoot": True, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID}
    return {**context, "seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> dict[str, Any]:
    """Return the security context of a container."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def resources(plan: ExportPlan) -> dict[str, Any]:
    """Return the requests and limits of a container."""
    requests: dict[str, Any] = {"cpu": str(plan.options.cpus), "memory": f"{plan.memory_mb}Mi"}
    limits: dict[str, Any] = {"memory": f"{plan.memory_mb}Mi"}  # no limit of cores: being slowed down costs latency, and no one gains
    if plan.gpus:
        limits["nvidia.com/gpu"] = str(plan.gpus)
    return {"requests": requests, "limits": limits}


def probes(plan: ExportPlan) -> dict[str, Any]:
    """Return the probes: a start may take as long as the modules may load."""
    scheme = {"scheme": "HTTPS"} if plan.uses_tls else {}
    root = plan.settings.root_path
    if plan.settings.tls_client_ca:  # the kubelet has no certificate of a client
        health = [f"{plan.places.app}/bin/python", f"{plan.places.app}/healthcheck.py"]
        live: dict[str, Any] = {"exec": {"command": [*health, "live"]}}
        ready: dict[str, Any] = {"exec": {"command": health}}
    else:
        live = {"httpGet": {"path": f"{root}/health/live", "port": "http", **scheme}}
        ready = {"httpGet": {"path": f"{root}/health/ready", "port": "http", **scheme}}
    return {
        "startupProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": max(6, (plan.load_timeout_s + 60) // 5)},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def writable(plan: ExportPlan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the mounts and volumes of what the server writes while the rest of its file system is read-only."""
    places = plan.places
    paths = {"tmp": "/tmp", "data": places.data}  # noqa: S108 - in the container
    if plan.options.models == "inside":
        paths |= {f"home-{each}": f"{places.home}/{each}" for each in ("cache", "conf", "tmp")}
    mounts = [{"name": name, "mountPath": path} for name, path in paths.items()]
    return mounts, [{"name": name, "emptyDir": {}} for name in paths]


def _deployment(plan: ExportPlan) -> dict[str, Any]:
    mounts, volumes = writable(plan)
    mounts.append({"name": "config", "mountPath": plan.places.config, "subPath": "config.json", "readOnly": True})
    volumes.append({"name": "config", "configMap": {"name": f"{plan.name}-config"}})
    if plan.secrets:
        mounts.append({"name": "secrets", "mountPath": plan.places.secrets, "readOnly": True})
        volumes.append({"name": "secrets", "secret": {"secretName": f"{plan.name}-secrets", "defaultMode": 0o440}})
    container = {
        "name": "hubserve",
        "image": plan.image,
        "ports": [{"name": name, "containerPort": port} for name, port in plan.ports.items()],
        **credentials(plan),
        "resources": resources(plan),
        "securityContext": container_security(),
        **probes(plan),
        # endpoints and proxies learn of the end before the server refuses connections
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "volumeMounts": mounts,
    }
    pod: dict[str, Any] = {
        "securityContext": pod_security(),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": plan.drain_s + 15,
    }
    if plan.options.models == "mounted":
        models: list[dict[str, Any]] = [
            {"name": "models", "mountPath": plan.places.models, "subPath": "models", "readOnly": True},
            {"name": "models", "mountPath": plan.places.bundles, "subPath": "modules", "readOnly": True},
            {"name": "home", "mountPath": plan.places.home},
        ]
        mounts += models
        volumes += [{"name": "models", "persistentVolumeClaim": {"claimName": f"{plan.name}-models"}}, {"name": "home", "emptyDir": {}}]
        commands = " && ".join(plan.found.install_commands(plan.places.bundles)) or "true"
        install = {key: container[key] for key in ("image", "resources", "securityContext", "volumeMounts")}
        pod["initContainers"] = [{"name": "install", "command": ["bash", "-c", commands], **install}]
    pod |= {"containers": [container], "volumes": volumes}
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(plan.metrics_port), "prometheus.io/path": "/metrics"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(plan),
        "spec": {
            # no replicas: the autoscaler sets them
            "selector": {"matchLabels": labels(plan)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": plan.load_timeout_s + 300,
            "template": {"metadata": {"labels": labels(plan), "annotations": annotations}, "spec": pod},
        },
    }


def _config_map(plan: ExportPlan) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(plan, "-config"), "data": {"config.json": plan.config_text()}}


def _service(plan: ExportPlan) -> dict[str, Any]:
    scheme = "https" if plan.uses_tls else "http"
    protocols = {"http": scheme, "grpc": "kubernetes.io/h2c", "metrics": scheme}
    ports = [{"name": name, "port": port, "targetPort": name, "appProtocol": protocols[name]} for name, port in plan.public_ports.items()]
    spec = {"selector": labels(plan), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(plan), "spec": spec}


def _autoscaler(plan: ExportPlan) -> dict[str, Any]:
    waiting = {"metric": {"name": PENDING_METRIC}, "target": {"type": "AverageValue", "averageValue": _PENDING_PER_REPLICA}}
    busy = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(plan),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
            "minReplicas": 2,
            "maxReplicas": _MOST_REPLICAS,
            "metrics": [{"type": "Pods", "pods": waiting}, {"type": "Resource", "resource": busy}],
            # models take long to load: start replicas at once, end them late
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def _disruption_budget(plan: ExportPlan) -> dict[str, Any]:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels(plan)}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": _metadata(plan), "spec": spec}


def _network_policy(plan: ExportPlan) -> dict[str, Any]:
    ports = [{"protocol": "TCP", "port": name} for name in plan.public_ports]
    spec: dict[str, Any] = {"podSelector": {"matchLabels": labels(plan)}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": _metadata(plan), "spec": spec}


def _claim(plan: ExportPlan) -> dict[str, Any]:
    spec = {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "10Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _metadata(plan, "-models"), "spec": spec}


def _service_monitor(plan: ExportPlan) -> dict[str, Any]:
    name = next(name for name, port in plan.ports.items() if port == plan.metrics_port)
    endpoint: dict[str, Any] = {"port": name, "path": "/metrics", "interval": "15s"}
    if plan.uses_tls:
        endpoint |= {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata(plan),
        "spec": {"selector": {"matchLabels": labels(plan)}, "endpoints": [endpoint]},
    }
