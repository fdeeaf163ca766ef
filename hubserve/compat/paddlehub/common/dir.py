"""``paddlehub.common.dir``: the home's folders under their old names."""

from paddlehub.env import CACHE_HOME, CONF_HOME, DATA_HOME, HUB_HOME, MODULE_HOME, TMP_HOME

USER_HOME = HUB_HOME

__all__ = ["CACHE_HOME", "CONF_HOME", "DATA_HOME", "HUB_HOME", "MODULE_HOME", "TMP_HOME", "USER_HOME"]
