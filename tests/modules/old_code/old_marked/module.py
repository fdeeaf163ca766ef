# -*- coding: utf-8 -*-
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_marked",
    version="1.0.0",
    type="CV/test",
    author="x",
    author_email="",
    summary="a byte order mark, and line ends of Windows",
)
class OldMarked:
    @serving
    def serving_method(self):
        from .latin import NAME

        return NAME
