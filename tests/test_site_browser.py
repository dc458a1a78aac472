"""The site in a real browser, Chromium without a screen: search, links, colours, width, and not one complaint."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from callout import site
from callout.cli.explain import whole

BOOK = whole()
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
PATIENCE = 60.0  # seconds for what a busy machine does in a blink
# One page of every kind, and those with wide tables or much text
CHOSEN = [
    "index.html",
    *(f"{pages[0].kind}/{pages[0].name}.html" for pages in BOOK.kinds().values()),
    *(f"concept/{name}.html" for name in ("numbers", "icmp", "history", "arguments", "timeouts", "again")),
    "call/connect.html", "errno/ECONNREFUSED.html", "errno/EINVAL.html", "family/AF_UNIX.html",
    "hook/cgroup-connect.html", "security/reverse-shell.html", "security/egress.html", "runtime/docker.html",
    "field/%40timestamp.html", "scenario/v6_v4mapped_badbind.html",
]  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps silent."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("browser") / "site"
    site.write(BOOK, directory)
    return directory


@pytest.fixture(scope="module")
def served(written: Path) -> Iterator[str]:
    """The site's address behind a server of our own on loopback."""
    handler = functools.partial(Quiet, directory=str(written))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def base(request: pytest.FixtureRequest, written: Path) -> str:
    """The site's address: as files, or as `served` where a test asks for that too."""
    if getattr(request, "param", "file") == "file":
        return written.as_uri() + "/"
    address: str = request.getfixturevalue("served")
    return address


BOTH = pytest.mark.parametrize("base", ["file", "http"], indirect=True)
SERVED = pytest.mark.parametrize("base", ["http"], indirect=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a profile of its own, driven by Debian's chromedriver."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed (pip install selenium)"
    )
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver (apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(PATIENCE)
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture
def page(browser: Any, base: str) -> Iterator[Any]:
    """The browser at the site's first page, 1280 wide, light; afterwards, not one message may have come."""
    sized(browser, 1280)
    scheme(browser, "light")
    browser.get(base + "index.html")
    browser.execute_script("localStorage.removeItem('callout-theme')")
    browser.get(base + "index.html")
    until(browser, "'ready' in document.documentElement.dataset")
    yield browser
    assert browser.get_log("browser") == []


def sized(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(browser: Any, value: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": value}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def until(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, PATIENCE, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(f"return {condition}"), condition
    )


def typed(browser: Any, *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def results(browser: Any) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#results:not([hidden]) a')].map((a) => a.querySelector('b').textContent)"
    )
    return found


def ground(browser: Any) -> str:
    color: str = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return color


@BOTH
def test_search_finds_and_leads_there(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    body = page.find_element("tag name", "body")
    body.send_keys("/")
    assert page.execute_script("return document.activeElement.id") == "search"
    typed(page, "econnrefused")
    assert results(page)[0] == "ECONNREFUSED"
    typed(page, Keys.ENTER)
    until(page, "location.pathname.endsWith('/errno/ECONNREFUSED.html') && document.querySelector('h1')")
    assert page.find_element("tag name", "h1").text == "ECONNREFUSED"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("111", "ECONNREFUSED"),
        ("connect(2)", "connect"),
        ("tcp", "stream"),
        ("docker.sock", "docker-socket"),
        ("arm64", "aarch64"),
        ("connect.swapped", "connect.swapped"),
        ("backlog full", "unix_backlog_full"),
        ("tcp_refused", "tcp_refused"),
    ],
)
def test_search_has_the_best_first(page: Any, query: str, first: str) -> None:
    page.find_element("id", "search").send_keys(query)
    assert results(page)[0] == first


def test_search_by_keys_alone(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.find_element("id", "search").send_keys("unix")
    names = results(page)
    assert len(names) > 3
    marked = "document.querySelector('#results [aria-selected=true] b').textContent"
    assert page.execute_script(f"return {marked}") == names[0]
    typed(page, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert page.execute_script(f"return {marked}") == names[1]
    typed(page, Keys.ESCAPE)
    assert results(page) == []


def test_search_says_when_there_is_nothing(page: Any) -> None:
    page.find_element("id", "search").send_keys("zzzzzz")
    assert page.find_element("id", "results").text == "Nothing found."


@BOTH
def test_colours_follow_the_system_and_the_reader(page: Any) -> None:
    light = ground(page)
    scheme(page, "dark")
    dark = ground(page)
    assert (light, dark) == ("rgb(252, 252, 250)", "rgb(19, 23, 22)")
    button = page.find_element("id", "theme")
    button.click()  # the other one than the system's
    assert ground(page) == light
    page.refresh()
    until(page, "'ready' in document.documentElement.dataset")
    assert ground(page) == light, "the choice is kept"
    page.find_element("id", "theme").click()
    assert ground(page) == dark
    page.find_element("id", "theme").click()  # as the system has it again
    scheme(page, "light")
    assert ground(page) == light


@BOTH
def test_every_kind_of_page_at_every_width(page: Any, base: str) -> None:
    """No complaint in the console (the fixture looks), nothing from elsewhere, nothing wider than the screen."""
    for path in CHOSEN:
        page.get(base + path)
        until(page, "'ready' in document.documentElement.dataset")
        asked = page.execute_script(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        assert [name for name in asked if not name.startswith((base, "data:"))] == [], path
        for width in (1280, 390):
            sized(page, width)
            room, used = page.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
            assert used <= room, f"{path} is {used} wide on a screen of {width}"


@SERVED  # Chromium lets no script ask for files; tests/test_site.py looks at all links there
def test_every_link_of_the_first_page_opens(page: Any) -> None:
    broken = page.execute_async_script(
        """
        const done = arguments[0];
        const urls = new Set([...document.links].map((link) => link.href.split('#')[0]));
        Promise.all([...urls].map((url) => fetch(url, {method: 'HEAD'}).then((answer) => answer.ok ? null : url)))
          .then((all) => done([urls.size, all.filter(Boolean)]));
        """
    )
    assert broken[0] > len(BOOK.listed()) * 0.9
    assert broken[1] == []


def test_a_complaint_would_be_seen(browser: Any, base: str) -> None:
    browser.get(base + "index.html")
    browser.execute_script("console.error('on purpose')")
    assert "on purpose" in browser.get_log("browser")[0]["message"]
