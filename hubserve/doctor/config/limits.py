"""Checks that the limits of a configuration agree."""

from collections.abc import Iterator

from hubserve.doctor.config.subject import Config
from hubserve.doctor.findings import ERROR, WARNING, Finding


def check_limits(config: Config) -> Iterator[Finding]:
    """Check for limits that contradict one another."""
    settings = config.settings
    if settings.max_body_bytes > settings.max_pending_bytes:
        total = settings.max_pending_bytes
        reason = f"a body may have {settings.max_body_bytes} bytes, but all together {total}, so longer ones are never accepted"
        yield config.finding(ERROR, "max_pending_bytes", reason, "Raise it, or lower max_body_bytes")
    for name, module in config.modules.items():
        where = f"modules_info.{name}"
        if module.compute_timeout_s and module.compute_timeout_s > settings.request_timeout_s:
            reason = f"a batch may take {module.compute_timeout_s:g} s, but requests time out after {settings.request_timeout_s:g} s"
            yield config.finding(WARNING, f"{where}.compute_timeout_s", reason, "Raise request_timeout_s, or lower this limit")
        if module.max_queue_delay_ms / 1e3 >= settings.request_timeout_s:
            reason = f"a request may wait {module.max_queue_delay_ms:g} ms for others, but times out after {settings.request_timeout_s:g} s"
            yield config.finding(ERROR, f"{where}.max_queue_delay_ms", reason, "Lower it: a few milliseconds are typical")
        too_large = [each for each in module.preferred_batch_sizes if module.max_batch_size and each > module.max_batch_size]
        if too_large:
            reason = f"{', '.join(map(str, too_large))} is above max_batch_size ({module.max_batch_size}), so it is never reached"
            yield config.finding(WARNING, f"{where}.preferred_batch_sizes", reason, "Remove it, or raise max_batch_size")
