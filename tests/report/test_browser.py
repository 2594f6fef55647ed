# SPDX-License-Identifier: GPL-2.0-or-later
"""The page in a browser: nothing is fetched, nothing goes wrong, nothing sticks out, each panel has its image."""

import json
import os
import shutil

import pytest

from muse_core.frontends.muse_report import main

SIZES = [(1400, "light"), (1400, "dark"), (400, "light"), (400, "dark")]
_STICKS_OUT = """
const width = document.documentElement.clientWidth;
return [...document.querySelectorAll('main *')].filter(e => !e.closest('svg') || e.tagName === 'svg')
  .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > width + 1)
  .map(e => e.outerHTML.slice(0, 80));
"""
_CLIPPED = """
return [...document.querySelectorAll('p, td, th, dd, dt, figcaption, h1, h2, h3, pre')]
  .filter(e => e.getClientRects().length && e.scrollWidth > e.clientWidth + 1)
  .filter(e => getComputedStyle(e).display !== 'inline')
  .map(e => e.outerHTML.slice(0, 80));
"""
_TEXT_OUTSIDE = """
return [...document.querySelectorAll('figure svg')].filter(s => s.getClientRects().length).flatMap(s => {
  const box = s.getBoundingClientRect();
  return [...s.querySelectorAll('text')].filter(t => {
    const r = t.getBoundingClientRect();
    return r.right > box.right + 2 || r.left < box.left - 2 || r.bottom > box.bottom + 2 || r.top < box.top - 2;
  }).map(t => s.getAttribute('aria-label').slice(0, 40) + ': ' + t.textContent);
});
"""
_PANELS = """
return [...document.querySelectorAll('figure')].map(f => {
  const seen = [...f.querySelectorAll('svg')].filter(s => s.getClientRects().length);
  const svg = seen[0];
  return {name: f.id, images: seen.length, label: svg ? svg.getAttribute('aria-label') : '',
          role: svg ? svg.getAttribute('role') : '', drawn: svg ? svg.querySelectorAll('path, image, use').length : 0,
          height: svg ? svg.getBoundingClientRect().height : 0};
});
"""


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, found in programs.items() if found is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"not installed: {', '.join(missing)} (Debian: chromium, chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs["chromedriver"]))
    driver.set_page_load_timeout(240)
    yield driver
    driver.quit()


def _requests(browser) -> list[str]:
    """Return the addresses of all requests so far."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module", params=["single", "reported", "adaptive", "compared"])
def page(request, tmp_path_factory):
    """A report of one exposure, of three, of steps that are not always run, and of two side by side."""
    if request.param in ("reported", "adaptive"):
        return request.getfixturevalue(request.param).products / "MUSE_REPORT.html"
    single, three = (request.getfixturevalue(name) for name in ("single", "three"))
    places = {"single": [single], "compared": [single, three]}[request.param]
    path = tmp_path_factory.mktemp("page") / "report.html"
    more = ["--compare"] if len(places) > 1 else []
    assert main([*(str(place.products) for place in places), "-o", str(path), *more]) == 0
    return path


def test_page(page, browser):
    assert page.stat().st_size < 6e6
    for width, scheme in SIZES:
        mobile = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get_log("browser")
        _requests(browser)
        browser.get(page.as_uri())
        assert [url for url in _requests(browser) if url != page.as_uri() and not url.startswith("data:")] == []
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
        assert browser.execute_script(_STICKS_OUT) == []
        assert browser.execute_script(_CLIPPED) == []
        assert browser.execute_script(_TEXT_OUTSIDE) == []
        panels = browser.execute_script(_PANELS)
        assert len(panels) >= 8
        for panel in panels:
            assert panel["images"] == 1, panel
            assert panel["role"] == "img"
            assert len(panel["label"]) > 20
            assert panel["drawn"] > 2
            assert panel["height"] > 100
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")
    assert browser.execute_script("return document.scripts.length") == 0
