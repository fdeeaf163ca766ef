"""Number of examples of property tests: few in the usual run, thousands with ``HYPOTHESIS_PROFILE=nightly``."""

import os

from hypothesis import HealthCheck, settings

NIGHTLY = "nightly"
USUAL = "usual"
_NIGHTLY_EXAMPLES = 5000

# an example's duration depends on the machine, not on the code
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(USUAL, _ANY_MACHINE, derandomize=True)  # the same examples each time; new ones at night
settings.register_profile(NIGHTLY, _ANY_MACHINE, max_examples=_NIGHTLY_EXAMPLES, print_blob=True)


def load_profile() -> None:
    """Load the profile named by the environment."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", USUAL))


def examples(usual: int) -> int:
    """Return a test's number of examples: its own in the usual run, the profile's at night."""
    return usual if settings.get_current_profile_name() == USUAL else settings().max_examples
