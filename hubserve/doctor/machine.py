"""The checks of this machine."""

from hubserve.doctor import engines, hardware, places, software
from hubserve.doctor.findings import Check, Finding, by_level, run_checks

MACHINE_CHECKS: tuple[Check[[]], ...] = (
    software.check_python,
    software.check_packages,
    software.check_opencv,
    software.check_hub_commands,
    software.check_variables,
    engines.check_engines,
    engines.check_gpus,
    hardware.check_cpu,
    hardware.check_quota,
    hardware.check_memory,
    hardware.check_shared_memory,
    hardware.check_open_files,
    hardware.check_clock,
    hardware.check_disk,
    places.check_home,
    places.check_network_file_system,
    places.check_settings,
    places.check_installed,
    places.check_leftovers,
    places.check_servers,
    places.check_default_port,
    software.check_other_pythons,
    software.check_tools,
)


def examine_machine() -> list[Finding]:
    """Run every check of this machine; nothing is changed."""
    return by_level(run_checks(MACHINE_CHECKS))
