"""A real browser with one page in one window, as a person has it: by mouse, by keyboard, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys as Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

SECONDS = 120
"""Of patience: a machine may be busy with other tests."""


class Browser:
    """One page in one window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def load(self, path: Path, state: str = "") -> None:
        self.driver.get("about:blank")  # else another "#" would not load anything
        self.driver.get(f"{path.as_uri()}{state}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def cdp(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def size(self, width: int, height: int = 800) -> None:
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)  # fmt: skip

    def scheme(self, name: str, motion: str = "no-preference") -> None:
        features = [{"name": "prefers-color-scheme", "value": name},
                    {"name": "prefers-reduced-motion", "value": motion}]  # fmt: skip
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def press(self, *keys: str) -> None:
        chain = ActionChains(self.driver, duration=0)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.run(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", element
        )
        element.click()

    def texts(self, selector: str) -> list[str]:
        """Of what is shown."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())"
            ".map((each) => (each.innerText ?? each.textContent).trim())",
            selector,
        )

    def choose(self, name: str, value: str) -> None:
        """As a person would: the browser tells the page."""
        field = self.find(f"[name={name}]")
        if field.tag_name == "select":
            field.find_element(By.XPATH, f"option[.='{value}']").click()
        elif field.get_attribute("type") == "checkbox":
            field.click()
        else:
            field.send_keys(value)

    def wait(self, script: str) -> None:
        WebDriverWait(self.driver, SECONDS).until(lambda _: self.run(f"return {script}"))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
