"""A module of PaddleHub's old form: a subclass of hub.Module with _initialize."""

import os

import paddlehub as hub
from paddlehub.common.logger import logger
from paddlehub.module.module import moduleinfo, runnable, serving

from old_style.helper import reverse


class Base(hub.Module):
    @serving
    def serving_method(self, texts, times=1, **kwargs):
        logger.info("reversing %d texts", len(texts))
        return [{"text": reverse(text) * times, "prefix": self.prefix} for text in texts]


@moduleinfo(
    name="old-style",
    version="1.2.0",
    summary="Reverses texts.",
    author="hubserve",
    author_email="",
    type="nlp/reverse",
)
class OldStyle(Base):
    def _initialize(self, prefix=""):
        self.prefix = prefix
        with open(os.path.join(self.directory, "assets.txt"), encoding="utf-8") as file:
            self.assets = file.read().strip()

    @runnable
    def run_cmd(self, argvs):
        return [reverse(each) for each in argvs] + [self.assets, self.name, self.version]
