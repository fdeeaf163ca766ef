"""Checks of a server's ``config.json``."""

from pathlib import Path

from hubserve.config_file.legacy import modernise
from hubserve.doctor.config.hardware import check_gpu, check_instances
from hubserve.doctor.config.limits import check_limits
from hubserve.doctor.config.modules import check_environments, check_modules, check_stores
from hubserve.doctor.config.network import check_address, check_addresses
from hubserve.doctor.config.permissions import check_tokens
from hubserve.doctor.config.reading import as_finding, read_document, without_path, without_wrong_keys
from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, Check, Finding, by_level, from_error, run_checks
from hubserve.doctor.module import examine_module
from hubserve.errors import ConfigError, HubError
from hubserve.registry.resolve import resolve
from hubserve.server.deployment import LOCATING
from hubserve.settings import parse_settings, with_paths

CONFIG_CHECKS: tuple[Check[[Config]], ...] = (
    check_modules,
    check_stores,
    check_environments,
    check_address,
    check_gpu,
    check_instances,
    check_limits,
    check_tokens,
    check_addresses,
)


def examine_config(path: Path, *, network: bool = False) -> list[Finding]:
    """Run every check of a configuration and its modules, without running the modules' code.

    Args:
        path: a ``config.json``.
        network: whether to connect to other machines that it names.
    """
    try:
        raw, findings = read_document(path)
        raw = modernise(raw, str(path), lambda text: findings.append(as_finding(text, path)))
    except ConfigError as error:
        return [from_error(error, "config.json", "Fix the file", str(path))]
    usable, wrong = without_wrong_keys(raw, path)
    findings += wrong
    try:
        config = Config(path, with_paths(parse_settings(usable, str(path)), path), network)
    except ConfigError as error:
        if not wrong:
            findings.append(Finding(ERROR, "modules_info", without_path(error, path), "Fix it", str(path)))
        return by_level(findings)
    findings += run_checks(CONFIG_CHECKS, config)
    for name in config.modules:
        findings += _examine_module(config, name)
    return by_level(findings)


def _examine_module(config: Config, name: str) -> list[Finding]:
    module = config.modules[name]
    try:
        reference = config.reference(name)
        if resolve(reference).info.name != name:
            return []  # check_modules reports it
    except HubError:
        return []
    init_args = {key: value for key, value in module.init_args.items() if key not in LOCATING}
    return examine_module(
        reference, search_path=[config.folder], init_args=init_args, predict_args=module.predict_args, origin=str(config.path)
    )
