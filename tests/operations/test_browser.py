"""The pages for people in a real Chromium without a network.

With ``SCREENSHOTS=docs/images`` in the environment the pictures of docs/browser.md are written anew.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, hub, servers, toy
from tests.operations.browser import Browser
from tests.operations.programs import program
from tests.triton_models import write_scale

CLAS = {"clas_system": {"init_args": {"directory": str(ROOT / "hubmodules" / "clas")}}}
ODD = "<b>&amp; 100%'\"é"
OPEN = ".opblock.is-open"
PICTURES = os.environ.get("SCREENSHOTS", "")
Open = Callable[..., Browser]


@pytest.fixture(scope="module")
def server(model_dir: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program("chromium")
    program("chromedriver")
    folder = tmp_path_factory.mktemp("browser")
    write_scale(folder / "models", ODD, config=None)
    with servers(shared_home, folder) as start:
        modules = {**CLAS, **{name: toy(name) for name in ("doubler", "shout", "tensors")}}
        yield start(modules, model_store=[str(folder / "models")], root_path="/ml")


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Open]:
    """Start browsers of the test's own: ``browse()`` or ``browse(phone=True)``."""
    started: list[Browser] = []

    def start(*, phone: bool = False, **options: Any) -> Browser:
        folder = tmp_path / f"profile-{len(started)}"
        started.append(Browser.phone(folder, **options) if phone else Browser(folder, **options))
        return started[-1]

    yield start
    for each in started:
        each.driver.quit()


def find(browser: Browser, selector: str, count: int = 1) -> Any:
    """The first element that a selector finds, once it finds as many as wanted."""
    from selenium.webdriver.support.wait import WebDriverWait

    def found(driver: Any) -> Any:
        elements = driver.find_elements("css selector", selector)
        return elements if len(elements) >= count else None

    return WebDriverWait(browser.driver, 60).until(found, f"no {selector}:\n{browser.driver.page_source[:3000]}")[0]


def click(browser: Browser, selector: str) -> None:
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", find(browser, selector))


def is_at_the_top(browser: Browser, element: Any) -> bool:
    top, height = browser.driver.execute_script("return [arguments[0].getBoundingClientRect().top, innerHeight]", element)
    return bool(-1 <= top < height / 2)


def check_that_nothing_came_from_elsewhere(browser: Browser, server: Server) -> None:
    assert browser.origins() == {server.url}
    assert browser.complaints() == []


def choose(browser: Browser, content_type: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(find(browser, f"{OPEN} .body-param-content-type select")).select_by_value(content_type)


def execute(browser: Browser) -> tuple[int, Any]:
    """Send the request of the open operation; its status and answer."""
    click(browser, f"{OPEN} .execute")
    status = find(browser, f"{OPEN} .live-responses-table tr.response .response-col_status")
    shown = find(browser, f"{OPEN} .live-responses-table tr.response .response-col_description .highlight-code")
    text = browser.driver.execute_script("return arguments[0].querySelector('code').textContent", shown)
    return int(re.findall(r"\d+", status.text)[0]), json.loads(text)


def classify(browser: Browser, address: str, photo: Path, content_type: str = "image/*") -> None:
    """Follow the way of a user with a photo, from the address of the module to what is in the photo."""
    browser.driver.get(address + "/predict/clas_system")
    click(browser, f"{OPEN} .try-out__btn")
    assert find(browser, f"{OPEN} .opblock-summary-path").text.replace("\u200b", "") == "/predict/clas_system"
    choose(browser, content_type)
    find(browser, f"{OPEN} input[type=file]").send_keys(str(photo))
    status, answer = execute(browser)
    assert (status, answer["status"]) == (200, "000")
    assert answer["results"]["prediction"][0]["label_names"][0] == "Egyptian cat"


@pytest.mark.parametrize("content_type", ["image/*", "multipart/form-data"])
def test_a_photo_is_classified_by_try_it_out(server: Server, browse: Open, cat_photo: Path, content_type: str) -> None:
    browser = browse()
    classify(browser, server.url + "/ml", cat_photo, content_type)
    check_that_nothing_came_from_elsewhere(browser, server)


def test_a_json_request_and_one_with_tensors_are_answered_as_the_examples_have_them(server: Server, browse: Open) -> None:
    browser = browse()
    browser.driver.get(server.url + "/ml/docs#module/shout")
    click(browser, f"{OPEN} .try-out__btn")
    status, answer = execute(browser)
    assert (status, answer["status"]) == (200, "000")
    assert answer["results"].endswith("!")
    check_that_nothing_came_from_elsewhere(browser, server)


@pytest.mark.parametrize("name", ["tensors", ODD, "clas_system"])
def test_a_link_opens_the_operation_of_its_module_and_shows_it(server: Server, browse: Open, name: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    browser = browse(height_px=700)
    browser.driver.get(server.url + "/ml/?lang=en")
    (link,) = [each for each in browser.driver.find_elements("css selector", "article a") if name in shown_above(browser, each)]
    link.click()
    operation = find(browser, OPEN)
    assert len(browser.driver.find_elements("css selector", OPEN)) == 1
    WebDriverWait(browser.driver, 30).until(lambda _: is_at_the_top(browser, operation))
    assert browser.driver.execute_script("return location.pathname") == "/ml/docs"
    check_that_nothing_came_from_elsewhere(browser, server)


def shown_above(browser: Browser, link: Any) -> str:
    text: str = browser.driver.execute_script("return arguments[0].closest('article').querySelector('h2').firstChild.textContent", link)
    return text


def test_addresses_in_a_link_do_not_choose_another_document(server: Server, browse: Open) -> None:
    browser = browse()
    browser.driver.get(server.url + "/ml/docs?url=http://127.0.0.1:9/evil.json&configUrl=http://127.0.0.1:9/evil.json")
    find(browser, ".opblock", count=4)
    check_that_nothing_came_from_elsewhere(browser, server)


@pytest.mark.parametrize(("language", "accepted"), [("en", "en-GB,en"), ("zh-CN", "zh-CN,zh;q=0.9")])
def test_the_front_page_fits_a_phone_in_both_languages(server: Server, browse: Open, language: str, accepted: str) -> None:
    browser = browse(phone=True)
    browser.prefer_language(accepted)
    browser.driver.get(server.url + "/ml/")
    assert find(browser, "html").get_attribute("lang") == language
    find(browser, "article", count=5)
    width, visible = browser.driver.execute_script("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width == visible == 360
    wide = (
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre'))"
    )
    assert [each.tag_name for each in browser.driver.execute_script(wide)] == []
    check_that_nothing_came_from_elsewhere(browser, server)


def test_the_front_page_is_dark_where_the_user_prefers_that(server: Server, browse: Open) -> None:
    browser = browse(width_px=1100, height_px=1000)
    seen = {}
    for scheme in ("light", "dark"):
        browser.prefer_colors(scheme)
        for page in ("", "docs"):
            browser.driver.get(f"{server.url}/ml/{page}")
            find(browser, ".opblock" if page else "article")
            seen[page, scheme] = brightness(browser)
    for page in ("", "docs"):
        assert seen[page, "light"] > 200 > 80 > seen[page, "dark"], page
    check_that_nothing_came_from_elsewhere(browser, server)


def brightness(browser: Browser) -> float:
    """The mean of the visible page's pixels, 0 to 255."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(browser.driver.get_screenshot_as_png(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return float(np.median(picture))


def test_a_command_of_the_front_page_is_copied_by_its_button(server: Server, browse: Open) -> None:
    browser = browse()
    browser.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.driver.get(server.url + "/ml/?lang=en")
    click(browser, "article .command button")
    find(browser, "article .command button")
    shown = browser.driver.execute_script("return document.querySelector('article .command code').textContent")
    copied = browser.driver.execute_async_script(
        "const done = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(done, done), 200)"
    )
    assert copied == shown
    assert find(browser, "article .command button").text == "Copied"
    check_that_nothing_came_from_elsewhere(browser, server)


def test_a_policy_that_forbids_what_the_page_does_not_need_is_in_force(server: Server, browse: Open) -> None:
    browser = browse()
    browser.driver.get(server.url + "/ml/docs")
    find(browser, ".opblock")
    browser.driver.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true'; document.body.append(script);"
        "const picture = document.createElement('img'); picture.src = 'http://127.0.0.1:9/x.png'; document.body.append(picture)"
    )
    assert browser.driver.execute_script("return window.ran") is None
    complaints = browser.complaints()
    assert len([each for each in complaints if "Content Security Policy" in each]) == 2, complaints


def test_docs_ask_for_a_key_and_send_it(server: Server, browse: Open, shared_home: Path, tmp_path: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    keys = {}
    for name, module in (("one", "shout"), ("other", "tensors")):
        made = hub("access", "create", tmp_path / "keys.json", "--name", name, "--modules", module, "--json", home=shared_home)
        keys[name] = json.loads(made.stdout)["key"]
    with servers(shared_home, tmp_path) as start:
        guarded = start({name: toy(name) for name in ("shout", "tensors")}, access_keys=str(tmp_path / "keys.json"))
        browser = browse()
        browser.driver.get(guarded.url + "/docs#module/shout")
        WebDriverWait(browser.driver, 30).until(lambda driver: driver.find_element("id", "key").is_displayed())
        for key in ("hsk_wrong_key", keys["one"]):
            field = find(browser, "#key input")
            field.clear()
            field.send_keys(key)
            find(browser, "#key button").click()
            if key != keys["one"]:
                WebDriverWait(browser.driver, 30).until(lambda _: "not valid" in find(browser, "#key output").text)
        click(browser, f"{OPEN} .try-out__btn")
        assert not browser.driver.find_element("id", "key").is_displayed()
        assert not browser.driver.find_elements("css selector", '[data-path="/v2/models/tensors/infer"]')
        status, answer = execute(browser)
        assert (status, answer["status"]) == (200, "000")
        assert keys["one"] not in browser.driver.execute_script("return JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
        # another key shows what that one may use
        click(browser, ".btn.authorize")
        click(browser, ".auth-container .auth-btn-wrapper button:not(.btn-done)")  # "Logout"
        field = find(browser, ".auth-container input")
        field.send_keys(keys["other"])
        click(browser, ".auth-container .btn.authorize")
        find(browser, '[data-path="/v2/models/tensors/infer"]')
        assert not browser.driver.find_elements("css selector", '[data-path="/predict/shout"]')
        assert browser.origins() == {guarded.url}
        assert not [each for each in browser.complaints() if "401" not in each]


@pytest.mark.skipif(not PICTURES, reason="writes the pictures of docs/browser.md where SCREENSHOTS names their folder")
def test_pictures_of_the_documentation(browse: Open, shared_home: Path, model_dir: Path, cat_photo: Path, tmp_path: Path) -> None:
    folder = Path(PICTURES).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with servers(shared_home, tmp_path) as start:
        shown = start({**CLAS, "shout": toy("shout")})
        browser = browse(width_px=1000, height_px=800)
        browser.driver.get(shown.url + "/?lang=en")
        find(browser, "article")
        browser.save_picture(folder / "front.png")
        browser.resize(1000, 1130)
        classify(browser, shown.url, cat_photo)
        browser.driver.execute_script(f"document.querySelector('{OPEN} .opblock-section-request-body').scrollIntoView()")
        browser.save_picture(folder / "docs.png")
        phone = browse(phone=True)
        phone.driver.get(shown.url + "/?lang=zh")
        find(phone, "article")
        phone.save_picture(folder / "front-phone.png")
