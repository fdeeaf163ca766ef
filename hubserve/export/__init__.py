"""Write what an operator needs to run a configuration elsewhere: a container's files, a systemd unit, manifests of Kubernetes.

A target is one file and one row of :data:`TARGETS`. All of them render the same :class:`hubserve.export.plan.ExportPlan`.
"""

from importlib import import_module

from hubserve.export.base import Target

#: name -> "package.module:Class"
TARGETS = {
    "docker": "hubserve.export.docker:Docker",
    "compose": "hubserve.export.compose:Compose",
    "systemd": "hubserve.export.systemd:Systemd",
    "kubernetes": "hubserve.export.kubernetes:Kubernetes",
    "kserve": "hubserve.export.kserve:KServe",
}


def get_target(name: str) -> Target:
    """Return the target of a name."""
    module, _, cls = TARGETS[name].partition(":")
    target: Target = getattr(import_module(module), cls)()
    return target
