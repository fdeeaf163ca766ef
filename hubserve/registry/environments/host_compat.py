"""Check whether a module can share the Python that runs hubserve."""

from hubserve.registry.environments.host_packages import unmet_requirements
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.python_choice import PythonRequest


def why_not_host(needs: Needs, options: Options | None = None) -> str:
    """Return the reason why a module cannot share the host's Python, or "" if it can.

    Raises:
        InstallError: a range of Pythons is invalid.
    """
    options = options or Options()
    if needs.base:
        return f"it runs in the environment of the profile '{needs.base.profile}'"
    if needs.isolated or options.isolated:
        return "it asks for its own" if needs.isolated else "--isolated asks for its own"
    request = PythonRequest(needs.requires_python, options.python)
    if not request.fits(host()):
        return f"{request.text}, and this is {host().version}"
    missing = unmet_requirements(needs.requirements)
    return f"this Python does not have {', '.join(missing)}" if missing else ""
