"""Whether a module can share the Python that runs hubserve."""

from hubserve.registry.environments.host_packages import unmet
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.python_choice import PythonRequest


def why_own(needs: Needs, options: Options | None = None) -> str:
    """Why a module cannot share the host's Python; "" where it can.

    Raises:
        InstallError: a range of Pythons cannot be read.
    """
    options = options or Options()
    if needs.base:
        return f"it runs in the environment of the profile '{needs.base.profile}'"
    if needs.isolated or options.isolated:
        return "it asks for its own" if needs.isolated else "--isolated asks for its own"
    wish = PythonRequest(needs.requires_python, options.python)
    if not wish.fits(host()):
        return f"{wish.text}, and this is {host().version}"
    missing = unmet(needs.requirements)
    return f"this Python does not have {', '.join(missing)}" if missing else ""
