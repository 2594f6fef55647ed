# SPDX-License-Identifier: GPL-2.0-or-later
"""Look at the built manual with a browser: ``check_pages.py docs/_build/html [FOLDER FOR PICTURES]``.

On every page: no error on the console, no picture that is not there, no link within the manual that leads nowhere,
nothing wider than the window of a telephone; and the search finds something. With a folder, each page is pictured, wide
and narrow.
"""

import html.parser
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

_WIDE, _NARROW = (1400, 1000), (400, 900)
_PATIENCE_S = 120
_SEARCHED = ("drizzle", "SKY_MASK", "autocalibration")
#: In the browser: pictures that are not there, and how much wider the page is than the window.
_BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
_EAGER = "document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager')"
_LOADED = "return [...document.images].every(i => i.complete)"
_TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


class _Page(html.parser.HTMLParser):
    """Names that a page can be entered by, and where its links lead."""

    def __init__(self, path: Path):
        super().__init__()
        self.names, self.links = {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.names |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        target = attributes.get("href" if tag in ("a", "link") else "src")
        if target is not None:
            self.links.append(target)


def _pages(root: Path) -> list[Path]:
    """Return the pages, without what belongs to the theme."""
    return sorted(path for path in root.rglob("*.html") if "_static" not in path.parts)


def broken_links(root: Path) -> Iterator[str]:
    """Yield each link within the manual that leads nowhere."""
    pages = {path: _Page(path) for path in _pages(root)}
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{path.relative_to(root)}: {link}: no such file"
            elif target in pages and urllib.parse.unquote(parts.fragment) not in pages[target].names:
                yield f"{path.relative_to(root)}: {link}: no such place on the page"


def _browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        sys.exit("chromium and chromedriver not found; on Debian: apt-get install chromium chromium-driver")
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs["chromedriver"]))
    driver.set_page_load_timeout(_PATIENCE_S)
    return driver


def _resize(driver: webdriver.Chrome, size: tuple[int, int], height: int | None = None) -> None:
    metrics = {"width": size[0], "height": height or size[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _messages(driver: webdriver.Chrome, where: object) -> Iterator[str]:
    """Yield the errors on the console."""
    yield from (f"{where}: {entry['message']}" for entry in driver.get_log("browser") if entry["level"] == "SEVERE")


def faults_in_browser(root: Path, pictures: Path | None) -> Iterator[str]:
    """Yield what the browser finds on each page, and whether the search does."""
    driver = _browser()
    try:
        wait = WebDriverWait(driver, _PATIENCE_S)
        for path in _pages(root):
            name = path.relative_to(root)
            _resize(driver, _WIDE)
            driver.get(path.as_uri())
            driver.execute_script(_EAGER)
            wait.until(lambda browser: browser.execute_script(_LOADED))
            yield from _messages(driver, name)
            yield from (f"{name}: no picture {source}" for source in driver.execute_script(_BROKEN))
            for size in (_WIDE, _NARROW):
                _resize(driver, size)
                if (excess := driver.execute_script(_TOO_WIDE)) > 0:
                    yield f"{name}: {excess} pixels wider than a window of {size[0]}"
                if pictures is not None:
                    _resize(driver, size, min(driver.execute_script("return document.body.scrollHeight"), 12000))
                    driver.save_screenshot(str(pictures / f"{str(name).replace('/', '_')[:-5]}-{size[0]}.png"))
        _resize(driver, _WIDE)
        for word in _SEARCHED:
            driver.get(f"{(root / 'search.html').as_uri()}?q={word}")
            found = WebDriverWait(driver, _PATIENCE_S).until(
                lambda browser: browser.execute_script("return document.querySelectorAll('#search-results li').length")
            )
            print(f"search for {word}: {found} pages")
            yield from _messages(driver, f"search for {word}")
    finally:
        driver.quit()


def main(root: Path, pictures: Path | None = None) -> int:
    """Print all faults; return 1 if there is one."""
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    faults = 0
    for fault in (*broken_links(root), *faults_in_browser(root, pictures)):
        print(fault)
        faults += 1
    print(f"{len(_pages(root))} pages, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(*(Path(argument).resolve() for argument in sys.argv[1:])))
