"""What a script answers by itself: ``python tiinfer_script.py FOLDER COMPAT < REQUESTS``, a JSON list each."""

import json
import sys
import urllib.request  # noqa: F401 - scripts say "import urllib" and use urllib.request


def main() -> None:
    """Print the answers as the last line."""
    folder, compat = sys.argv[1:]
    sys.path.insert(0, folder)
    sys.path.append(compat)
    import model_service  # type: ignore[import-not-found]
    import tiinfer  # type: ignore[import-not-found]

    classes = [each for each in vars(model_service).values() if isinstance(each, type) and issubclass(each, tiinfer.Model)]
    model = classes[0](folder)
    assert model.load()
    answers = [model(request) for request in json.load(sys.stdin)]
    print("\n" + json.dumps(answers))


main()
