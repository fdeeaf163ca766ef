"""What a script answers by itself: ``python tiinfer_script.py FOLDER HUBSERVE REQUESTS.json``."""

import json
import os
import sys
import urllib.request  # noqa: F401 - scripts say "import urllib" and use urllib.request
from pathlib import Path


def main() -> None:
    """Print the answers as the last line."""
    folder, package, requests = map(Path, sys.argv[1:])
    sys.path.insert(0, str(folder))
    sys.path += [str(package.parent), str(package / "compat")]
    if (folder / "model" / "saved_model.pb").exists():
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from hubserve.kinds.torchvision_operators import declare_missing

    declare_missing()  # the environment may have a torchvision for another torch
    import model_service  # type: ignore[import-not-found]
    import tiinfer  # type: ignore[import-not-found]

    (script,) = [each for each in vars(model_service).values() if isinstance(each, type) and issubclass(each, tiinfer.Model)]
    model = script(str(folder))
    assert model.load()
    answers = [model(request) for request in json.loads(requests.read_text())]
    print("\n" + json.dumps(answers))


main()
