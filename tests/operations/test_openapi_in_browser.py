"""Texts of modules' authors, as Swagger UI shows them in a real Chromium."""

from pathlib import Path

from tests.behaviours.openapi.conftest import write_hostile
from tests.conftest import Start, toy
from tests.operations.browser import Browser
from tests.operations.test_browser import OPEN, check_that_nothing_came_from_elsewhere, click, execute, find


def test_markup_in_a_modules_texts_is_text(start: Start, tmp_path: Path) -> None:
    server = start({"shout": toy("shout"), "hostile": {"init_args": {"directory": str(write_hostile(tmp_path))}}})
    browser = Browser(tmp_path / "profile")
    try:
        browser.driver.get(server.url + "/docs#module/hostile")
        shown = find(browser, f"{OPEN} .opblock-description").text
        # an alert would make each of these calls fail
        for text in ("<script>alert(1)</script>", "[me](javascript:alert(2))", "<img src=x onerror=alert(3)>", "<script>alert(5)</script>"):
            assert text in shown
        assert not browser.driver.find_elements("css selector", f"{OPEN} .opblock-description :is(a, img, script)")
        click(browser, f"{OPEN} .try-out__btn")
        status, answer = execute(browser)
        assert (status, answer["results"]["words"]) == (200, ["some text"])
        check_that_nothing_came_from_elsewhere(browser, server)
    finally:
        browser.driver.quit()
