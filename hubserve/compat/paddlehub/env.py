"""Folders of the home, under PaddleHub's names."""

from hubserve.home import cache_dir, conf_dir, home, modules_dir, tmp_dir

HUB_HOME = str(home())
MODULE_HOME = str(modules_dir())
CACHE_HOME = str(cache_dir())
DATA_HOME = str(home() / "dataset")
CONF_HOME = str(conf_dir())
THIRD_PARTY_HOME = str(home() / "thirdparty")
TMP_HOME = str(tmp_dir())
LOG_HOME = str(home() / "log")
SOURCES_HOME = str(home() / "sources")
