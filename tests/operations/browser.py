"""A real Chromium without a network: every name but 127.0.0.1 is unknown to it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.operations.programs import MISSING, program

_SCHEMES_WITHOUT_A_SERVER = ("data", "blob", "about", "chrome")
_PHONE_PX = (360, 740)


class Browser:
    """A Chromium with a profile of its own, controlled by ChromeDriver.

    Attributes:
        driver: selenium's.
    """

    def __init__(self, folder: Path, width_px: int = 1200, height_px: int = 1000, *, dark: bool = False) -> None:
        try:
            from selenium import webdriver
        except ImportError:
            pytest.skip(f"{MISSING} of selenium: pip install 'hubserve[operations]'")
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for each in (
            "--headless=new",
            "--no-sandbox",  # which root cannot use
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder}",
            f"--window-size={width_px},{height_px}",
        ):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver")))
        self.resize(width_px, height_px)
        self.prefer_colors("dark" if dark else "light")
        self._requested: list[str] = []
        self._messages: list[str] = []

    @classmethod
    def phone(cls, folder: Path, **options: Any) -> "Browser":
        """A browser with the screen of a small phone."""
        return cls(folder, *_PHONE_PX, **options)

    def command(self, name: str, **arguments: Any) -> Any:
        """Give a command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def resize(self, width_px: int, height_px: int) -> None:
        """Show pages in another size."""
        metrics = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": width_px == _PHONE_PX[0]}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer_colors(self, scheme: str) -> None:
        """Prefer "light" or "dark" colours."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def prefer_language(self, accepted: str) -> None:
        """Send another ``Accept-Language``."""
        agent = self.driver.execute_script("return navigator.userAgent")
        self.command("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=accepted)

    def origins(self) -> set[str]:
        """The origins that pages have asked for anything so far."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requested.append(message["params"]["request"]["url"])
        parts = [urlsplit(each) for each in self._requested]
        return {f"{each.scheme}://{each.netloc}" for each in parts if each.scheme not in _SCHEMES_WITHOUT_A_SERVER}

    def complaints(self) -> list[str]:
        """Exceptions, failed requests and violations of a policy so far, as Chromium reports them; not what pages log themselves."""
        self._messages += [each["message"] for each in self.driver.get_log("browser") if each["source"] != "console-api"]
        return list(self._messages)

    def save_picture(self, path: Path) -> None:
        """Save the visible part of the page as a PNG file."""
        path.write_bytes(self.driver.get_screenshot_as_png())
