"""The browser, and the sample page in it; without Chromium the tests that ask for it skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.html.sample import few_records, sample_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not (BROWSER and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from tests.report.html.browser import SECONDS

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(SECONDS)
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(sample_page(few_records()), encoding="utf-8")
    return path


@pytest.fixture
def browser(driver: Any, path: Path) -> Iterator[Any]:
    """The sample page, freshly loaded; at the end the browser must not have complained."""
    from tests.report.html.browser import Browser

    browser = Browser(driver)
    browser.size(1280)
    browser.scheme("light", "reduce")
    browser.load(path)
    browser.errors()
    yield browser
    assert browser.errors() == []
