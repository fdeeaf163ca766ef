"""``hub export docker``: a Dockerfile and everything that it copies."""

from hubserve.export.base import Target, Written
from hubserve.export.image import image_texts, package_files
from hubserve.export.plan import ExportPlan


class Docker(Target):
    """Image with hubserve, modules, models and environments."""

    summary = "a Dockerfile with everything that it copies"

    def render(self, plan: ExportPlan) -> Written:
        """See the base class."""
        return Written(image_texts(plan), [package_files(plan)], next_steps=docker_steps(plan))


def docker_steps(plan: ExportPlan) -> list[tuple[str, str]]:
    """Return the commands that build the image and run a container of it."""
    run = f"docker run --rm {run_options(plan)}"
    steps = [(f"docker build -t {plan.image} .", "build the image")]
    if plan.options.models == "mounted":
        places = plan.places
        commands = " && ".join(plan.found.install_commands(places.bundles)) or "true"
        steps.append((f"{run} --entrypoint bash {plan.image} -c '{commands}'", "install the modules into the volume, once"))
    return [*steps, (f"{run} {plan.image}", "serve"), (f"curl http://127.0.0.1:{plan.settings.port}/health/ready", "see that it is ready")]


def run_options(plan: ExportPlan) -> str:
    """Return the options of ``docker run``: ports, volumes, secrets, limits."""
    words = [f"-p {port}:{port}" for port in plan.public_ports.values()]
    words += [f"--cpus {plan.options.cpus} --memory {plan.memory_mb}m --cap-drop ALL --security-opt no-new-privileges"]
    words += [f"--gpus {plan.gpus}"] if plan.gpus else []
    words += [f"-v {each.source}:{plan.places.secrets}/{each.name}:ro" for each in plan.secrets]
    words += [f"-e {each}" for each in plan.variables]  # with the values that the client's environment has
    words += mounts(plan)
    return " ".join([*words, f"--stop-timeout {plan.drain_s + 5}"])


def mounts(plan: ExportPlan, folder: str = '"$PWD"') -> list[str]:
    """Return the options that mount models which are not inside the image."""
    if plan.options.models == "inside":
        return []
    places = plan.places
    return [f"-v {folder}/models:{places.models}:ro", f"-v {folder}/modules:{places.bundles}:ro", f"-v {plan.name}-home:{places.home}"]
