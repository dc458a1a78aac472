"""The reference as a site: sound HTML, links that lead somewhere, nothing from elsewhere, no harm to other files."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from callout import site
from callout.cli.explain import whole
from callout.errors import CalloutError, UsageError
from callout.reference.book import Book

BOOK: Book = whole()
VOID = {"meta", "link", "input", "br", "hr", "img"}
# Right, but younger than Debian's tidy: ARIA 1.1, aria-current
UNKNOWN_TO_TIDY = 'Warning: <a> proprietary attribute "aria-current"'


class Document(HTMLParser):
    """What a page has: ids, addresses it refers to, and how its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # of SVG

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site") / "new" / "reference"
    assert site.write(BOOK, directory) == len(BOOK.listed()) + 1
    return directory


@pytest.fixture(scope="module")
def documents(written: Path) -> dict[Path, Document]:
    return {path: Document(path.read_text(encoding="utf-8")) for path in sorted(written.rglob("*.html"))}


def test_every_topic_has_a_page(written: Path) -> None:
    for page in BOOK.listed():
        text = (written / page.kind / f"{page.name}.html").read_text(encoding="utf-8")
        assert f"<title>{page.title or page.name}" in text.replace("&#39;", "'").replace("&amp;", "&")


def test_elements_nest_and_ids_are_unique(documents: dict[Path, Document]) -> None:
    for path, document in documents.items():
        assert document.wrong == [], path
        assert len(set(document.ids)) == len(document.ids), path


def test_every_link_leads_somewhere(documents: dict[Path, Document]) -> None:
    root = next(path.parent for path in documents if path.name == "index.html")
    ids = {str(path.relative_to(root)): set(document.ids) for path, document in documents.items()}
    assets = {str(path.relative_to(root)) for path in (root / "assets").iterdir()}
    broken = []
    for path, document in documents.items():
        place = str(path.relative_to(root))
        for link in set(document.links) - {"#"}:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            assert (parts.scheme, parts.netloc) == ("", ""), f"{path}: {link} is elsewhere"
            target = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(parts.path)))
            known = ids.get(target if parts.path else place)
            if target not in assets and (known is None or (parts.fragment and parts.fragment not in known)):
                broken.append((place, link))
    assert broken == []


def test_search_leads_to_every_page(written: Path) -> None:
    text = (written / "assets" / "index.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("window.calloutIndex = ").removesuffix(";\n"))
    assert len(entries) == len(BOOK.listed())
    assert [path for path, *_ in entries if not (written / path).is_file()] == []


def test_html_is_what_tidy_calls_good(written: Path) -> None:
    tidy = shutil.which("tidy")
    if tidy is None:
        pytest.skip("tidy is not installed (apt install tidy)")
    done = subprocess.run(
        [tidy, "-errors", "-quiet", *sorted(map(str, written.rglob("*.html")))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = [line for line in done.stderr.splitlines() if line and not line.endswith(UNKNOWN_TO_TIDY)]
    assert found == []


def test_tidy_would_find_what_is_wrong(tmp_path: Path) -> None:
    tidy = shutil.which("tidy")
    if tidy is None:
        pytest.skip("tidy is not installed (apt install tidy)")
    page = tmp_path / "x.html"
    page.write_text("<!DOCTYPE html><html lang=en><title>x</title><p id=a><b>x</p><p id=a>y")
    done = subprocess.run([tidy, "-errors", "-quiet", page], capture_output=True, text=True, check=False)
    assert "missing </b>" in done.stderr
    document = Document(page.read_text())
    assert document.wrong
    assert document.ids == ["a", "a"]


def test_written_again_it_is_the_same_and_what_is_gone_goes(written: Path) -> None:
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    stale = written / "errno" / "EGONE.html"
    stale.write_text("x")
    with (written / ".callout-reference").open("a") as mark:
        mark.write("errno/EGONE.html\n../../outside\n")
    outside = written.parent.parent / "outside"
    outside.write_text("not ours")
    site.write(BOOK, written)
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before
    assert outside.exists()


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="there are other files in it"):
        site.write(BOOK, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CalloutError, match=r"cannot write .*file"):
        site.write(BOOK, tmp_path / "file" / "site")


def test_without_jinja2_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(jinja2=None, markupsafe=None)\n"
        "from callout.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "--html", tmp_path / "site"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "callout: --html needs jinja2\n  pip install 'callout[html]'\n"
    assert not (tmp_path / "site").exists()


def test_from_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callout", "explain", "--html", tmp_path / "site"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"\d+ pages; begin with \S+/site/index.html\n", done.stderr)
    assert (tmp_path / "site" / "index.html").is_file()


def colors(scheme: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """The colours of a scheme by their names, from the style sheet."""
    css = (Path(site.__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
    block = {"light": css[: css.index("@media")], "dark": css[css.index(':root[data-theme="dark"]') :]}[
        scheme
    ]
    for name, value in re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block[: block.index("color-scheme")]):
        yield name, (int(value[:2], 16), int(value[2:4], 16), int(value[4:], 16))


def luminance(color: tuple[int, int, int]) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    known = dict(colors(scheme))
    for text in ("ink", "soft", "accent", "good", "bad", "open"):
        for ground in ("paper", "raised", "sunken"):
            light, dark = sorted((luminance(known[text]), luminance(known[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, text, ground)


def test_dark_is_the_same_by_the_system_and_by_choice() -> None:
    css = (Path(site.__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
    first, second = re.findall(r"\{\s*(--paper: #131716;.*?)\s*\}", css, re.DOTALL)
    assert first.split() == second.split()
