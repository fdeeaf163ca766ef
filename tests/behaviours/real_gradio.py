"""Real gradio, old and new, behind ``/gradio/<module>``; ``make gradio`` runs it, because it installs a hundred packages.

The modules are in the manner of published ones, and each environment's own client asks its page: the old one over WebSockets, the new one
by server-sent events.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, hub, servers

OLD = "gradio==3.50.2\nfastapi<0.113\nstarlette<0.38\nnumpy<2\nhuggingface_hub<0.26\npydantic<2.11\nwebsockets<12\n"
REQUIREMENTS = {"talk_old": OLD, "talk_new": "gradio\n", "cutter": OLD}
TALKS = ("talk_old", "talk_new")
_MAJOR = {"talk_old": "3", "talk_new": "[!3]"}
MODULE = """
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="{name}", version="1.0.0", type="nlp/text", summary="Says hello.")
class SideChannel:
    def _initialize(self, greeting="Hello"):
        self.greeting = greeting

    @serving
    def greet(self, text):
        return "%s %s" % (self.greeting, text)

    def create_gradio_app(self):
        import gradio as gr

        def letters(text):
            for index in range(len(text)):
                yield text[:index + 1]

        def size(file):
            return str(len(open(file if isinstance(file, str) else file.name, "rb").read()))

        with gr.Blocks(title="talk") as app:
            box, result, file = gr.Textbox(label="text"), gr.Textbox(label="words"), gr.File()
            gr.Button("greet").click(self.greet, box, result, api_name="greet")
            gr.Button("letters").click(letters, box, result, api_name="letters")
            gr.Button("size").click(size, file, result, api_name="size")
        return app.queue() if gr.__version__ < "4" else app
"""
PUBLISHED = """
from paddlehub.module.module import moduleinfo, runnable, serving


@moduleinfo(name="cutter", version="1.1.0", author="x", author_email="", type="nlp/lexical_analysis", summary="Cuts texts.")
class Cutter:
    @serving
    def cut(self, sentence, use_paddle=True):
        return " ".join(sentence)

    def create_gradio_app(self):
        import gradio as gr

        def inference(text):
            results = self.cut(sentence=text)
            return results

        title = "cutter"
        description = "cutter is a word segmentation model."
        examples = [["abc"]]
        app = gr.Interface(inference,
                           "text", [gr.outputs.Textbox(label="words")],
                           title=title,
                           description=description,
                           examples=examples)
        return app
"""
CLIENT = """
import json, sys, tempfile
import gradio_client
client = gradio_client.Client(sys.argv[1], verbose=False)
with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    file.write(b"x" * 70000)
    file.flush()
    sent = gradio_client.handle_file(file.name) if hasattr(gradio_client, "handle_file") else file.name
    letters = client.submit("abc", api_name="/letters")
    answers = [letters.result(timeout=60), letters.outputs()]
    answers += [client.predict("Ada", api_name="/greet"), client.predict(sent, api_name="/size")]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("real")
    home = place / "home"
    for name, requirements in REQUIREMENTS.items():
        (place / name).mkdir()
        (place / name / "module.py").write_text(MODULE.format(name=name) if name in TALKS else PUBLISHED)
        (place / name / "requirements.txt").write_text(requirements)
        done = hub("install", place / name, home=home, timeout=900)
        assert done.returncode == 0, done.stderr
    with servers(home, place) as start:
        yield start({**{name: {"init_args": {"greeting": "Good day"}} for name in TALKS}, "cutter": {}}, workers=1)


def python_of(module: str, home: Path) -> Path:
    place = home / "environments"
    (chosen,) = [each for each in place.iterdir() if list(each.glob(f"lib/*/site-packages/gradio-{_MAJOR[module]}*"))]
    return chosen / "bin" / "python"


@pytest.mark.parametrize("module", REQUIREMENTS)
def test_the_page_and_all_that_it_loads_is_there(server: Server, module: str) -> None:
    page = requests.get(f"{server.url}/gradio/{module}", timeout=300)
    assert page.status_code == 200, page.text
    assert page.url == f"{server.url}/gradio/{module}/app"
    assets = re.findall(r'(?:src|href)="(\./[^"]+)"', page.text)
    assert assets
    for asset in assets:
        assert requests.get(f"{server.url}/gradio/{module}/{asset[2:]}", timeout=60).status_code == 200, asset


@pytest.mark.parametrize("module", TALKS)
def test_gradios_own_client_calls_streams_and_uploads(server: Server, module: str) -> None:
    requests.get(f"{server.url}/gradio/{module}", timeout=300)
    command = [str(python_of(module, server.home)), "-c", CLIENT, f"{server.url}/gradio/{module}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["abc", ["a", "ab", "abc"], "Good day Ada", "70000"]
    assert server.results(module, text="Ada") == "Good day Ada"


def test_a_page_in_the_manner_of_published_modules_answers_and_keeps_its_files_to_itself(server: Server) -> None:
    assert requests.get(f"{server.url}/gradio/cutter", timeout=300).status_code == 200
    answer = requests.post(f"{server.url}/gradio/cutter/run/predict", json={"data": ["abc"], "fn_index": 0}, timeout=60)
    assert answer.json()["data"] == ["a b c"]
    assert requests.get(f"{server.url}/gradio/cutter/file=setup.py", timeout=60).status_code in (403, 404)
