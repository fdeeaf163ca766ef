"""Test the name ``paddlehub`` inside an instance, as published modules and scripts use it."""

import json
from pathlib import Path

from tests.conftest import MODULES, hub
from tests.unit.compat.script import run_script


def test_every_published_import_of_the_thin_core_works(home: Path) -> None:
    script = """
    import paddlehub as hub
    from paddlehub.module.module import Module, moduleinfo, runnable, serving
    from paddlehub.utils.log import logger
    from paddlehub.env import MODULE_HOME, HUB_HOME, CACHE_HOME, TMP_HOME, CONF_HOME
    from paddlehub.common.logger import logger as old_logger
    from paddlehub.common.dir import MODULE_HOME as old_home
    from paddlehub.common.utils import mkdir
    from paddlehub.io.parser import txt_parser
    from paddlehub.utils.parser import txt_parser, yaml_parser
    from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64, md5
    assert logger is old_logger and MODULE_HOME == old_home
    assert hub.Module is Module
    logger.info("ok")
    print(hub.__version__, MODULE_HOME)
    """
    assert run_script(script, home).split() == ["2.4.0", str(home / "modules")]


def test_a_folder_is_loaded_by_directory_with_its_arguments(home: Path) -> None:
    script = f"""
    import paddlehub as hub
    module = hub.Module(directory={str(MODULES / "old_style")!r}, prefix="=>", source="any", update=False)
    print(module.serving_method(["abc"]), module.name, module.version, module.is_runnable)
    """
    assert run_script(script, home).strip() == "[{'text': 'cba', 'prefix': '=>'}] old-style 1.2.0 True"


def test_an_installed_module_is_loaded_by_name_and_by_version_and_imported_by_others(home: Path) -> None:
    assert hub("install", MODULES / "old_style", home=home).returncode == 0
    script = """
    import paddlehub as hub
    print(hub.Module(name="old-style").assets)
    print(hub.Module(name="old-style", version="1.2.0").version)
    from old_style.helper import reverse
    print(reverse("ab"))
    """
    assert run_script(script, home).splitlines() == ["from the assets", "1.2.0", "ba"]


def test_the_error_for_a_missing_module_says_how_to_install_it(home: Path) -> None:
    script = """
    import paddlehub as hub
    try:
        hub.Module(name="lac")
    except Exception as error:
        print(error)
    """
    assert "install it with 'hub install'" in run_script(script, home)


def test_a_picture_survives_as_base64_text(home: Path) -> None:
    script = """
    import numpy as np
    from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64
    picture = np.full((8, 9, 3), 200, np.uint8)
    again = base64_to_cv2(cv2_to_base64(picture))
    print(again.shape, int(abs(again.astype(int) - 200).max()) <= 2)
    """
    assert run_script(script, home).strip() == "(8, 9, 3) True"


def test_a_real_paddlehub_in_the_environment_is_preferred(home: Path, tmp_path: Path) -> None:
    (tmp_path / "paddlehub").mkdir()
    (tmp_path / "paddlehub" / "__init__.py").write_text("real = True\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "module.py").write_text(
        "import paddlehub\nfrom hubserve.module import moduleinfo, runnable\n"
        '@moduleinfo(name="m", version="1.0.0")\nclass M:\n    @runnable\n    def run(self, argv):\n        return paddlehub.real\n'
    )
    done = hub("run", "--json", tmp_path / "m", home=home, environ={"PYTHONPATH": str(tmp_path)})
    assert json.loads(done.stdout) is True, done.stderr
