"""``hub export kserve``: ServingRuntimes for the image, and an InferenceService of the configuration."""

from typing import Any

from hubserve.export.base import Target, Written, yaml_text
from hubserve.export.docker import docker_steps
from hubserve.export.image import UID, image_texts, package_files
from hubserve.export.kubernetes import container_security, credential_steps, credentials, probes, resources, writable
from hubserve.export.plan import ExportPlan

#: where KServe puts what a storageUri names
_MODELS = "/mnt/models"
#: formats of single models, by KServe's names
_FORMATS = ("onnx", "paddle", "pytorch", "openvino", "tensorflow")


class KServe(Target):
    """ServingRuntimes and InferenceService, with the Open Inference Protocol."""

    summary = "KServe's ServingRuntimes and an InferenceService"

    def render(self, plan: ExportPlan) -> Written:
        """See the base class."""
        texts = {
            "servingruntimes.yaml": yaml_text(*_runtimes(plan)),
            "inferenceservice.yaml": yaml_text(_service(plan)),
        }
        steps = [
            (docker_steps(plan)[0][0].replace(" .", " image"), "build the image"),
            (f"docker push {plan.image}", "to a registry that the cluster reads; name it with --image"),
        ]
        if plan.secrets:
            files = " ".join(f"--from-file={each.name}={each.source}" for each in plan.secrets)
            steps.append((f"kubectl create secret generic {plan.name}-secrets {files}", "certificates and keys"))
        steps += credential_steps(plan)
        steps += [
            ("kubectl apply -f servingruntimes.yaml -f inferenceservice.yaml", "serve"),
            (f"kubectl wait --for=condition=Ready inferenceservice/{plan.name}", "see that it is ready"),
        ]
        return Written({**texts, **image_texts(plan, "image/")}, [package_files(plan, "image")], next_steps=steps)


def _runtimes(plan: ExportPlan) -> list[dict[str, Any]]:
    port = str(plan.settings.port)
    start = ["serving", "start", "--host", "0.0.0.0", "-p", port]  # noqa: S104 - in a container
    configured = _runtime(plan, plan.name, ["hubserve"], None, False)
    store = _runtime(plan, "hubserve-model-repository", ["triton"], [*start, "--model-store", _MODELS], True)
    model = _runtime(plan, "hubserve-model-file", _FORMATS, [*start, "-m", "{{.Name}}=" + _MODELS], False)
    return [configured, store, model]


def _runtime(plan: ExportPlan, name: str, formats: Any, command: list[str] | None, multi: bool) -> dict[str, Any]:
    mounts, volumes = writable(plan)
    if command is None and plan.secrets:
        mounts.append({"name": "secrets", "mountPath": plan.places.secrets, "readOnly": True})
        volumes.append({"name": "secrets", "secret": {"secretName": f"{plan.name}-secrets", "defaultMode": 0o440}})
    container: dict[str, Any] = {"name": "kserve-container", "image": plan.image}
    if command is not None:
        container["args"] = command
    else:
        container |= credentials(plan)
    more: dict[str, Any] = {
        # one port, as Knative wants it; with gRPC on the same port if grpc_port equals port
        "ports": [{"name": "http1", "containerPort": plan.settings.port, "protocol": "TCP"}],
        "resources": resources(plan),
        "securityContext": {**container_security(), "runAsNonRoot": True, "runAsUser": UID},
        **{key: _by_number(probe, plan) for key, probe in probes(plan).items() if key == "readinessProbe" or not multi},
        "volumeMounts": mounts,
    }
    container |= more
    protocols = ["v2", "grpc-v2"] if plan.settings.has_one_port else ["v2"]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "hubserve"}},
        "spec": {
            "annotations": {"prometheus.kserve.io/port": str(plan.metrics_port), "prometheus.kserve.io/path": "/metrics"},
            # not chosen by itself: an InferenceService names it
            "supportedModelFormats": [{"name": each, "autoSelect": False} for each in formats],
            "protocolVersions": protocols,
            "containers": [container],
            "volumes": volumes,
        },
    }


def _by_number(probe: dict[str, Any], plan: ExportPlan) -> dict[str, Any]:
    """Return a probe that names its port by number: the name of the port differs here."""
    if "httpGet" not in probe:
        return probe
    return {**probe, "httpGet": {**probe["httpGet"], "port": plan.settings.port}}


def _service(plan: ExportPlan) -> dict[str, Any]:
    model = {"modelFormat": {"name": "hubserve"}, "runtime": plan.name, "protocolVersion": "v2"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": plan.name, "labels": {"app.kubernetes.io/name": "hubserve"}},
        "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 10, "timeout": round(plan.settings.request_timeout_s), "model": model}},
    }
