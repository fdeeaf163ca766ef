"""The files of a container's image, which several targets need: everything but the Dockerfile's text is copied into it."""

from collections.abc import Callable
from pathlib import Path

from hubserve.export.packages import EPOCH, installed_extras, pinned_packages, requirements_text, write_wheel
from hubserve.export.plan import ExportPlan
from hubserve.registry.progress import silent

UID = 10001
#: system libraries that the engines need and that slim images lack
LIBRARIES = ("libgomp1",)

_DOCKERFILE = """\
# syntax=docker/dockerfile:1
# {title}
ARG PYTHON_IMAGE={base}
{python_stages}
FROM ${{PYTHON_IMAGE}} AS build
# a private package index: docker build --build-arg PIP_INDEX_URL=https://...
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG SOURCE_DATE_EPOCH={epoch}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 HUB_HOME={home}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# the versions are those of the base image's release, which its tag pins
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends {libraries} && rm -rf /var/lib/apt/lists/*
{python_copies}
COPY requirements.txt /build/
RUN python3 -m venv {app} && {app}/bin/pip install --no-deps -r /build/requirements.txt
COPY wheels/ /build/wheels/
RUN {app}/bin/pip install --no-deps --no-index /build/wheels/*.whl && mkdir -p {home}/cache {home}/conf {home}/tmp {data}
{models}

FROM ${{PYTHON_IMAGE}} AS runtime
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends {libraries} && rm -rf /var/lib/apt/lists/* \\
    && groupadd --gid {uid} hubserve && useradd --uid {uid} --gid {uid} --no-create-home --home-dir {home} hubserve
{python_copies}
COPY --from=build {app} {app}
# what the server writes belongs to its user, everything else to root
COPY --from=build {home} {home}
COPY --from=build {data} {data}
COPY healthcheck.py {app}/healthcheck.py
COPY config.json {config}
{runtime_models}
RUN chown -R {uid}:{uid} {owned}
ENV PATH={app}/bin:$PATH HUB_HOME={home} PYTHONUNBUFFERED=1
USER {uid}:{uid}
WORKDIR {data}
EXPOSE {ports}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period={start_s}s --retries=3 CMD ["{app}/bin/python", "{app}/healthcheck.py"]
ENTRYPOINT ["hub"]
CMD ["serving", "start", "-c", "{config}"]
"""

_HEALTHCHECK = '''\
"""Exit with 0 if the server of this container is ready, else with 1: nothing but Python is needed."""

import ssl
import sys
import urllib.request

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it asks this machine, whatever name the certificate has
handlers = [urllib.request.ProxyHandler({{}}), urllib.request.HTTPSHandler(context=context)]
try:
    with urllib.request.build_opener(*handlers).open("{url}", timeout=4) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except OSError as error:
    sys.exit(f"not ready: {{error}}")
'''

#: where clients need certificates, which a container has none of, hubserve's own socket answers
_SOCKET_HEALTHCHECK = '''\
"""Exit with 0 if the server of this container is ready, else with 1; with the argument "live", if it answers."""

import json
import socket
import sys

try:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(4)
        client.connect("{socket}")
        client.sendall(b'{{"op": "status"}}\\n')
        with client.makefile("rb") as lines:
            modules = json.loads(lines.readline())["modules"]
except (OSError, ValueError, KeyError) as error:
    sys.exit(f"not ready: {{error}}")
waiting = [each["name"] for each in modules if not each["ready"]]
sys.exit(f"not ready: {{', '.join(waiting)}}" if waiting and "live" not in sys.argv else 0)
'''

_IGNORED = """\
# only what the Dockerfile copies
*
!requirements.txt
!wheels
!modules
!models
!profiles
!config.json
!healthcheck.py
"""


def dockerfile(plan: ExportPlan) -> str:
    """Return the Dockerfile: a stage that builds the environments, and one without tools that serves."""
    places, inside = plan.places, plan.options.models == "inside"
    minor = ".".join(plan.python.split(".")[:2])
    others = [each for each in plan.found.other_pythons if each != minor]
    install = "\n".join(["COPY profiles/ " + places.home + "/profiles/", "COPY modules/ /build/modules/", _install(plan)])
    owned = [f"{places.home}/{each}" for each in ("cache", "conf", "tmp")] + [places.data] if inside else [places.home, places.data]
    text = _DOCKERFILE.format(
        title=f"serves {', '.join(plan.found.names) or 'the models of its stores'}; written by hub export",
        base=plan.options.base_image or f"python:{plan.python}-slim-bookworm",
        python_stages="".join(f"FROM python:{each}-slim-bookworm AS python{each}\n" for each in others).rstrip(),
        python_copies="\n".join(map(_copy_python, others)),
        libraries=" ".join(LIBRARIES),
        models=install if inside else f"COPY profiles/ {places.home}/profiles/",
        runtime_models=f"COPY models/ {places.models}/" if inside else "",
        owned=" ".join(owned),
        ports=" ".join(map(str, plan.public_ports.values())),
        start_s=plan.load_timeout_s,
        epoch=EPOCH,
        uid=UID,
        **{key: getattr(places, key) for key in ("app", "home", "config", "data")},
    )
    lines = text.splitlines()
    return "\n".join(line for number, line in enumerate(lines) if line or (number and lines[number - 1])) + "\n"


def _copy_python(minor: str) -> str:
    """Return the instructions that add another Python, whose shared library is found there too."""
    folder = f"/opt/python{minor}"
    return f"COPY --from=python{minor} /usr/local {folder}\nRUN echo {folder}/lib > /etc/ld.so.conf.d/python{minor}.conf && ldconfig"


def _install(plan: ExportPlan) -> str:
    commands = plan.found.install_commands("/build/modules", f"{plan.places.app}/bin/hub")
    return f"RUN {' && '.join(commands)}" if commands else ""


def image_texts(plan: ExportPlan, folder: str = "") -> dict[str, str]:
    """Return the text files of an image's folder.

    Args:
        plan: the configuration.
        folder: prefix of their paths.
    """
    texts = {
        "Dockerfile": dockerfile(plan),
        ".dockerignore": _IGNORED,
        "config.json": plan.config_text(),
        "healthcheck.py": _healthcheck(plan),
    }
    return {folder + name: text for name, text in texts.items()}


def _healthcheck(plan: ExportPlan) -> str:
    if plan.settings.tls_client_ca:
        return _SOCKET_HEALTHCHECK.format(socket=f"{plan.places.home}/conf/serving_{plan.settings.port}.sock")
    scheme = "https" if plan.uses_tls else "http"
    return _HEALTHCHECK.format(url=f"{scheme}://127.0.0.1:{plan.settings.port}{plan.settings.root_path}/health/ready")


def package_files(plan: ExportPlan, folder: str = "") -> Callable[[Path], None]:
    """Return a function that writes modules, models, the wheel of hubserve and the pinned requirements below a folder."""

    def write(root: Path) -> None:
        target = root / folder
        target.mkdir(parents=True, exist_ok=True)
        plan.found.write(target, silent, plan.notes)
        write_wheel(target / "wheels")
        extras = installed_extras() if plan.options.extras is None else plan.options.extras
        pins = pinned_packages(sorted({*extras, *plan.found.extras}), plan.found.host_folders)
        (target / "requirements.txt").write_text(requirements_text(pins, silent, plan.notes), "utf-8")

    return write
