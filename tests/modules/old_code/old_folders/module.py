import os

import paddlehub as hub
from paddlehub.common.dir import MODULE_HOME
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_folders",
    version="1.0.0",
    type="CV/test",
    author="x",
    author_email="",
    summary="imports of its own folder, its files by MODULE_HOME, and a second module",
)
class OldFolders:
    def _initialize(self):
        from inner.names import SECOND
        from old_folders.inner.names import FIRST

        self.names = [FIRST, SECOND]
        self.pictures = hub.Module(name="old_six")

    @serving
    def serving_method(self):
        with open(os.path.join(MODULE_HOME, "old_folders", "assets", "label.txt")) as file:
            return self.names + [file.read().strip(), self.pictures.serving_method(["ab", "c"])]
