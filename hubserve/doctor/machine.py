"""Checks of this machine."""

from hubserve.doctor import engines, hardware, home_checks, software
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
    home_checks.check_home,
    home_checks.check_network_file_system,
    home_checks.check_settings,
    home_checks.check_installed,
    home_checks.check_leftovers,
    home_checks.check_servers,
    home_checks.check_default_port,
    software.check_other_pythons,
    software.check_tools,
)


def examine_machine() -> list[Finding]:
    """Run every check of this machine, without changing anything."""
    return by_level(run_checks(MACHINE_CHECKS))
