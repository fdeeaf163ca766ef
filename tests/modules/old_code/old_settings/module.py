import os

import yaml
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_settings", version="1.0.0", type="CV/test", author="x", author_email="", summary="yaml.load without a loader")
class OldSettings:
    def _initialize(self):
        with open(os.path.join(self.directory, "settings.yml")) as file:
            self.settings = yaml.load(file)

    @serving
    def serving_method(self):
        return self.settings
