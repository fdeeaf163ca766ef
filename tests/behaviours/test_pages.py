"""Pages for people: ``/``, ``/docs`` and the way there from ``/predict/<module>``; a browser opens them in tests/operations."""

import gzip
import html
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import flask
import pytest
import requests

from hubserve.flask import blueprint
from tests.behaviours.flask.applications import running
from tests.conftest import MODULES, Server, Start, hub, servers, toy, wait_for
from tests.triton_models import add, write_scale

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ODD = "<b>&amp; 100%'\"{x}"
BROKEN = "raise ImportError('a <script>alert(1)</script> is missing')\n"


class Page(HTMLParser):
    """What a page loads, links to and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.language = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self._open.append(tag)
        self.attributes += given
        self.language = self.language or given.get("lang", "")
        if tag == "a":
            self.links.append(given["href"])
        elif "href" in given or "src" in given:
            self.loads.append(given.get("href") or given["src"])

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        assert self._open[-1:] != ["script"] or not data.strip(), "a script inside a page"
        self.texts.append(data)


def commands(text: str) -> list[str]:
    """The commands that a front page shows, as a reader copies them."""
    return [html.unescape(each) for each in re.findall(r'<div class="command"><pre tabindex="0"><code>(.*?)</code>', text, re.DOTALL)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("store")
    write_scale(made, "double")
    write_scale(made, ODD, config=None)
    add(made / "sum" / "1" / "model.onnx")
    return made


@pytest.fixture(scope="module")
def server(shared_home: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server of modules of each kind, one of which cannot be loaded."""
    folder = tmp_path_factory.mktemp("pages")
    broken = folder / "broken"
    broken.mkdir()
    source = (MODULES / "shout" / "module.py").read_text("utf-8").replace('name="shout"', 'name="broken"')
    (broken / "module.py").write_text(source + "\n" + BROKEN)
    modules = {name: toy(name) for name in ("shout", "doubler", "sizes", "tensors", "moody")}
    with servers(shared_home, folder) as start:
        started = start({**modules, "broken": {"init_args": {"directory": str(broken)}}}, wait=False, model_store=[str(store)])
        wait_for(lambda: _is_settled(started), 240)
        yield started


def _is_settled(server: Server) -> bool:
    try:
        not_ready = requests.get(server.url + "/health/ready", timeout=10).json()["not_ready"]
    except requests.ConnectionError:
        assert server.process.poll() is None, server.log.read_text()
        return False
    return set(not_ready) == {"broken"} and "being loaded" not in not_ready["broken"]


def front(server: Server, language: str = "", **headers: str) -> str:
    answer = requests.get(server.url + "/", params={"lang": language} if language else None, headers=headers, timeout=30)
    assert answer.status_code == 200
    return answer.text


# --- /docs ---


def test_docs_are_swagger_ui_and_its_files_from_this_server(server: Server) -> None:
    answer = requests.get(server.url + "/docs", timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    files = [each for each in page.loads if not each.startswith("data:")]
    assert files == ["docs/swagger-ui.css", "docs/docs.css", "docs/swagger-ui-bundle.js", "docs/initializer.js"]
    for each in files:
        loaded = requests.get(urljoin(answer.url, each), timeout=30)
        assert loaded.status_code == 200
        assert loaded.headers["Content-Type"] == f"text/{'css' if each.endswith('css') else 'javascript'}; charset=utf-8"
    assert requests.get(server.url + "/docs/", timeout=30).url == server.url + "/docs"
    assert "openapi.json" in answer.text
    assert requests.get(server.url + "/docs/LICENSE", timeout=30).text.strip().startswith("Apache License")


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/front.js", "/docs/nothing"])
def test_pages_run_no_scripts_but_the_servers_own_files(server: Server, path: str) -> None:
    answer = requests.get(server.url + path, timeout=30)
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert "style-src" not in policy
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["nothing", "..%2findex_page.py", "../routes.py", "swagger_ui/LICENSE", "%00", "a/b"])
def test_other_files_are_not_served(server: Server, path: str) -> None:
    session = requests.Session()
    prepared = session.prepare_request(requests.Request("GET", server.url + "/docs/x"))
    prepared.url = f"{server.url}/docs/{path}"  # as it is, which requests would tidy up
    assert session.send(prepared, timeout=30).status_code in (400, 404)


def test_a_browser_that_has_the_files_is_sent_them_compressed_and_once(server: Server) -> None:
    address = server.url + "/docs/swagger-ui-bundle.js"
    first = requests.get(address, headers={"Accept-Encoding": "gzip, deflate, br, zstd"}, timeout=30, stream=True)
    packed = first.raw.read(decode_content=False)
    assert first.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 700_000 < 1_700_000 < len(gzip.decompress(packed))
    again = requests.get(address, headers={"Accept-Encoding": "gzip", "If-None-Match": first.headers["ETag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")
    plain = requests.get(address, headers={"Accept-Encoding": "identity"}, timeout=30)
    assert plain.content == gzip.decompress(packed)
    assert plain.headers["ETag"] != first.headers["ETag"]
    head = requests.head(address, headers={"Accept-Encoding": "identity"}, timeout=30)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(plain.content)))


# --- /predict/<module> in a browser ---


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/predict/shout", "../docs#module/shout"),
        ("/predict/shout/", "../../docs#module/shout"),
        ("//predict//shout", "../../../docs#module/shout"),
        ("/predict/nobody", "../docs#module/nobody"),
        ("/predict/a%20%3Cb%3E%22%C3%BC", "../docs#module/a%20%3Cb%3E%22%C3%BC"),
    ],
)
def test_a_module_opened_in_a_browser_leads_to_its_operation(server: Server, path: str, location: str) -> None:
    for method in ("GET", "HEAD"):
        answer = requests.request(method, server.url + path, headers=BROWSER, timeout=30, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"], answer.headers["Vary"]) == (303, location, "Accept")
    assert urljoin("http://x" + path.replace("//", "/a/", 1) if path.startswith("//") else "http://x" + path, location).startswith(
        "http://x/"
    )
    assert requests.get(server.url + path, headers=BROWSER, timeout=30).url.startswith(server.url + "/docs")


@pytest.mark.parametrize("accept", ["*/*", "", "application/json", "text/html;q=0", "text/*"])
def test_other_clients_still_learn_that_modules_take_post(server: Server, accept: str) -> None:
    answer = requests.get(server.url + "/predict/shout", headers={"Accept": accept}, timeout=30, allow_redirects=False)
    assert (answer.status_code, answer.headers["Allow"], answer.json()["status"]) == (405, "POST", "405")


def test_other_methods_and_paths_of_a_browser_are_answered_as_ever(server: Server) -> None:
    assert requests.put(server.url + "/predict/shout", headers=BROWSER, timeout=30).status_code == 405
    assert requests.get(server.url + "/predict/a/b", headers=BROWSER, timeout=30).status_code == 404
    assert requests.post(server.url + "/predict/shout", json={"text": "a"}, headers=BROWSER, timeout=30).json()["results"] == "A!"
    assert requests.get(server.url + "/v2/models/shout", headers=BROWSER, timeout=30).json()["name"] == "shout"


# --- / ---


def test_the_front_page_shows_what_each_module_takes_and_leads_to_it(server: Server) -> None:
    text = front(server)
    page = Page(text)
    assert {"docs", "openapi.json", "health/ready", "metrics", "status"} <= set(page.links)
    assert {"docs#module/shout", "docs#module/doubler", "docs#module/double"} <= set(page.links)
    shown = " ".join(page.texts)
    for each in ("shout", "version 1.0.0", "ready", "text", "x: float32[n, 4]", "unit: str", "a picture", "onnxruntime", "triton"):
        assert each in shown, each


def test_every_link_of_the_front_page_leads_somewhere(server: Server) -> None:
    for link in Page(front(server)).links + Page(front(server)).loads:
        if link.startswith("data:"):
            continue
        assert requests.get(urljoin(server.url + "/", link), timeout=30).status_code in (200, 503), link


def test_names_and_messages_of_modules_are_shown_as_they_are(server: Server) -> None:
    for language in ("en", "zh"):
        page = Page(front(server, language))
        shown = " ".join(page.texts)
        assert ODD in shown
        assert "a <script>alert(1)</script> is missing" in shown
        assert {tag for tag in page.tags if tag in ("b", "script")} == {"script"}
        assert page.tags.count("script") == 1
        assert not [each for each in page.attributes if each.startswith("on") or each == "style"]


def test_a_module_that_failed_says_why_and_what_to_do(server: Server) -> None:
    (card,) = re.findall(r"<article><h2>broken.*?</article>", front(server), re.DOTALL)
    assert "failed to load" in card
    assert commands(card) == ["hub serving reload"]
    assert "docs#module" not in card


def test_a_server_without_modules_says_how_to_get_one(start: Start, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    server = start({}, model_store=[str(tmp_path / "store")], model_control="explicit")
    for language, wanted in (("en", "No modules are served."), ("zh", "当前没有已部署的模型。")):
        text = front(server, language)
        assert wanted in text
        assert commands(text) == ["hub install MODULE && hub serving start -m MODULE"]


def test_every_command_that_the_page_shows_works_when_it_is_pasted(server: Server, tmp_path: Path) -> None:
    shown = [each for each in commands(front(server)) if each.startswith(("curl", "("))]
    answers = {}
    for command in shown:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer.get("status", "000") == "000", (command, answer)
        assert "error" not in answer, (command, answer)
        answers[command.rpartition(server.url)[2]] = answer
    assert {"/predict/shout", "/predict/doubler", "/predict/sizes", "/v2/models/tensors/infer"} <= set(answers)
    assert len(answers) == 8
    assert answers["/predict/sizes"]["results"] == ["320 x 240 px"]


def test_commands_name_the_server_as_its_client_does(server: Server) -> None:
    for host in ("localhost:1234", "127.0.0.1", "here"):
        found = {each for command in commands(front(server, Host=host)) for each in re.findall(r"http://[^ /]+", command)}
        assert found == {f"http://{host}"}


@pytest.mark.parametrize("host", ["a'b", "$(id)", "a;id", "a b", "`id`", 'a"b'])
def test_a_name_that_a_client_calls_the_server_by_runs_nothing_in_a_shell(start: Start, host: str) -> None:
    server = start({"shout": toy("shout")}, allowed_hosts=["*"])
    answer = requests.get(server.url + "/", headers={"Host": host}, timeout=30)
    if answer.status_code != 400:  # such names are refused before any page is asked
        (command,) = commands(answer.text)
        assert shlex.split(command)[-1] == f"http://{host}/predict/shout"


# --- with keys ---


def add_key(file: Path, home: Path, *options: str) -> str:
    made = hub("access", "create", file, "--json", *options, home=home)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)["key"]


def test_a_server_with_keys_shows_each_holder_its_modules_and_commands_that_send_a_key(start: Start, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, home, "--name", "team", "--modules", "shout")
    server = start({name: toy(name) for name in ("shout", "sizes")}, access_keys=str(file))
    for path in ("/docs", "/docs/", "/docs/initializer.js", "/docs/example.png"):
        assert requests.get(server.url + path, timeout=30).status_code == 200, path
    asked = requests.get(server.url + "/", headers=BROWSER, timeout=30)
    assert (asked.status_code, "Basic" in asked.headers["WWW-Authenticate"]) == (401, True)
    for sent in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        text = front(server, **sent)
        assert ("shout" in text, "sizes" in text) == (True, False)
    (command,) = commands(text)
    assert key not in text
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, "HUB_API_KEY": key}, timeout=60
    )
    assert json.loads(done.stdout)["status"] == "000"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, "HUB_API_KEY": "x"}, timeout=60
    )
    assert json.loads(done.stdout)["status"] == "401"


# --- languages ---


def test_the_page_is_in_the_browsers_language_or_in_the_one_of_its_address(server: Server) -> None:
    for language, accepted, wanted in (("", "zh-CN,zh;q=0.9", "zh-CN"), ("", "fr", "en"), ("en", "zh", "en"), ("zh", "en", "zh-CN")):
        answer = requests.get(
            server.url + "/", params={"lang": language} if language else None, headers={"Accept-Language": accepted}, timeout=30
        )
        assert (answer.headers["Content-Language"], Page(answer.text).language) == (wanted, wanted)
        assert answer.headers["Vary"] == "Accept-Language"
        assert ("就绪" in answer.text, ">ready<" in answer.text) == (wanted == "zh-CN", wanted == "en")
        assert {"?lang=zh", "?lang=en"} <= set(Page(answer.text).links)


# --- under a prefix ---


@pytest.mark.parametrize("known", ["setting", "header", "not at all"])
def test_links_lead_below_the_prefix_of_a_proxy(start: Start, known: str) -> None:
    settings: dict[str, Any] = {"setting": {"root_path": "/ml"}, "header": {"trusted_proxies": ["127.0.0.1"]}}.get(known, {})
    headers = {"X-Forwarded-Prefix": "/ml"} if known == "header" else {}
    server = start({"shout": toy("shout")}, **settings)

    def get(path: str, **more: str) -> requests.Response:
        return requests.get(server.url + path, headers={**headers, **more}, timeout=30, allow_redirects=False)

    base = "" if known == "not at all" else "/ml/"
    assert f"{base}docs#module/shout" in Page(get("/").text).links
    assert Page(get("/").text).loads[1:] == [f"{base}docs/front.css", f"{base}docs/front.js"]
    docs = get("/docs")
    files = ("swagger-ui.css", "docs.css", "swagger-ui-bundle.js", "initializer.js")
    assert Page(docs.text).loads[1:] == [f"{base}docs/{each}" for each in files]
    assert f'data-document="{base}openapi.json"' in docs.text
    assert get("/predict/shout", **BROWSER).headers["Location"] == f"{base or '../'}docs#module/shout"
    if known == "setting":
        assert get("/ml/docs").text == docs.text
        assert get("/ml/").text == get("/").text
    (command,) = commands(get("/").text)
    assert command.endswith(f" {server.url}{base or '/'}predict/shout")


def test_a_prefix_that_is_the_name_of_a_page_is_a_prefix(start: Start) -> None:
    server = start({"shout": toy("shout")}, root_path="/docs", wait=False)
    wait_for(lambda: _answers(server.url + "/docs/docs"))
    assert Page(requests.get(server.url + "/docs/docs", timeout=30).text).loads[1] == "/docs/docs/swagger-ui.css"
    assert requests.get(server.url + "/docs/docs/swagger-ui.css", timeout=30).status_code == 200
    assert "shout" in requests.get(server.url + "/docs/", timeout=30).text


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


# --- in a Flask application ---


def test_pages_in_a_flask_application_are_below_its_prefix() -> None:
    application = flask.Flask("own")
    made = blueprint(config={"modules_info": {"shout": toy("shout")}}, url_prefix="/ml", pages=True)
    application.register_blueprint(made)
    try:
        with running(application) as address:
            made.start()
            page = Page(requests.get(address + "/ml/", timeout=60).text)
            assert {"/ml/docs", "/ml/docs#module/shout", "/ml/health/ready"} <= set(page.links)
            (command,) = commands(requests.get(address + "/ml/", timeout=60).text)
            assert command.endswith(f"{address}/ml/predict/shout")
            docs = requests.get(address + "/ml/docs", timeout=30)
            for each in Page(docs.text).loads[1:]:
                assert requests.get(urljoin(address, each), timeout=30).status_code == 200
            assert "Content-Security-Policy" in docs.headers
            files = requests.get(address + "/ml/docs/swagger-ui.css", timeout=30)
            again = requests.get(address + "/ml/docs/swagger-ui.css", headers={"If-None-Match": files.headers["ETag"]}, timeout=30)
            assert (files.headers["Content-Encoding"], again.status_code) == ("gzip", 304)
            led = requests.get(address + "/ml/predict/shout", headers=BROWSER, timeout=30, allow_redirects=False)
            assert (led.status_code, led.headers["Location"]) == (303, "/ml/docs#module/shout")
            assert requests.get(address + "/ml/predict/shout", timeout=30).status_code == 405
    finally:
        made.close()


@pytest.mark.parametrize("pages", [True, False])
def test_a_flask_application_keeps_its_own_front_page_and_without_pages_has_none_of_these(pages: bool) -> None:
    application = flask.Flask("own")
    made = blueprint(config={"modules_info": {"shout": toy("shout")}}, pages=pages)
    application.register_blueprint(made)
    application.add_url_rule("/", "front", lambda: "mine")
    try:
        with running(application) as address:
            assert requests.get(address + "/", timeout=30).text == "mine"
            assert requests.get(address + "/docs", timeout=60).status_code == (200 if pages else 404)
            led = requests.get(address + "/predict/shout", headers=BROWSER, timeout=60, allow_redirects=False)
            assert (led.status_code, led.headers.get("Location")) == ((303, "../docs#module/shout") if pages else (405, None))
    finally:
        made.close()
