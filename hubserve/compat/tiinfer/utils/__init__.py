"""Helpers of inference scripts."""

from tiinfer.utils.imageutil import *  # noqa: F403 - as the real package
from tiinfer.utils.ioutil import *  # noqa: F403 - as above
