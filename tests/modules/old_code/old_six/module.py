# coding=utf-8
from __future__ import absolute_import, division, print_function, unicode_literals

import six
from six.moves import range, reduce
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_six",
    version="1.0.0",
    type="CV/test",
    author="x",
    author_email="",
    summary="six, which no file asks for",
)
class OldSix(object):
    @serving
    def serving_method(self, texts):
        if not all(isinstance(each, six.string_types) for each in texts):
            raise ValueError("texts are texts")
        return reduce(lambda one, other: one + other, [len(texts[index]) for index in range(len(texts))])
