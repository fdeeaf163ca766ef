import inspect
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping

from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_python", version="1.0.0", type="CV/test", author="x", author_email="", summary="Python's own library as it was")
class OldPython:
    @serving
    def serving_method(self, data):
        begun = time.clock()
        names = inspect.getargspec(self.serving_method).args
        children = [each.tag for each in ET.fromstring("<a><b/><c/></a>").getchildren()]
        alive = threading.current_thread().isAlive()
        return [isinstance(data, Iterable), isinstance(data, Mapping), names, children, alive, time.clock() >= begun]
