"""The page in headless Chromium: real keys and clicks, on a laptop and on a phone, in the light and in the dark."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from stages.data import corrections
from tests.conftest import ENVIRONMENT, ROOT
from tests.report.browser import CHROMIUM
from tests.review.made import copied, near_duplicates, suspects, table, unreadable

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian, Ubuntu: apt install chromium)"),
]
WIDTHS = {"a laptop": (1280, 800), "a phone": (390, 844)}
# Text whose contrast with what is behind it is below WCAG AA's 4.5, or 3 where it is large, by computed styles.
CONTRAST = """
() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const ground = parts(getComputedStyle(one).backgroundColor);
      if (ground[3] === undefined || ground[3] > 0) return ground;
    }
    return parts(getComputedStyle(document.documentElement).backgroundColor);
  };
  const found = [];
  let seen = 0;
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own && !element.matches("input, select") || element.matches("option")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(parts(style.color)), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    seen += 1;
    const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700;
    if (contrast < (large ? 3 : 4.5)) found.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
  }
  return [seen, found];
}
"""


@pytest.fixture(scope="module")
def folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with twelve suspects, a pair and an unreadable photo."""
    found = copied(prepared, tmp_path_factory.mktemp("page") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        suspects(12)
        near_duplicates((0, 161))
        broken = Path("data/train/images") / table()["file"][162]
        broken.write_bytes(broken.read_bytes()[:400])
        unreadable(str(broken))
    return found


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    words = [sys.executable, "-m", "cli.main", "review", "--port", "0", "--json", "--who", "ann"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def fresh(folder: Path) -> Path:
    """Nothing is decided."""
    path = folder / "corrections.csv"
    path.unlink(missing_ok=True)
    return path


class Page:
    """A page that was opened by the printed URL."""

    def __init__(self, chromium: Any, url: str, width: str = "a laptop", scheme: str = "light") -> None:
        wide, high = WIDTHS[width]
        self.context = chromium.new_context(viewport={"width": wide, "height": high}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda one: self.wrong.append(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda one: self.wrong.append(str(one)))
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.page.goto(url)
        self.page.wait_for_selector("h1")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.settled()

    def settled(self) -> None:
        self.page.wait_for_function("() => !state.busy")

    @property
    def at(self) -> int:
        return int(self.page.evaluate("state.view === 'questions' && state.shown ? state.shown.number : -1"))

    @property
    def said(self) -> str:
        return str(self.page.locator("#status").inner_text())


@pytest.fixture
def opened(chromium: Any, url: str, fresh: Path) -> Iterator[Page]:
    found = Page(chromium, url)
    yield found
    found.context.close()


def rows(path: Path) -> list[tuple[str, str, str]]:
    return [(row.axis, row.old, row.new) for row in corrections.read(path)]


def test_keys_accept_keep_relabel_skip_undo_and_step(opened: Page, fresh: Path) -> None:
    given = opened.page.evaluate("[state.shown.given, state.shown.suggested]")
    opened.press("a")
    assert rows(fresh) == [("gender", *given)]
    assert opened.said.startswith("Saved: gender of ")
    opened.press("k")
    assert rows(fresh)[-1] == ("mask", "wear", "wear")
    opened.press("2")
    assert rows(fresh)[-1][0] == "age"
    assert opened.at == 3
    assert "3 of 14 decided" in opened.page.locator("#far").inner_text()
    assert "left" in opened.page.locator("#far").inner_text()
    opened.press("s")
    assert opened.at == 4
    opened.press("u")
    assert (opened.at, len(rows(fresh)), corrections.read(fresh)[-1].why) == (2, 4, "undone")
    opened.press("j", "ArrowRight", "ArrowLeft")
    assert opened.at == 3
    assert opened.wrong == []


def test_only_what_the_audit_counts_as_likely_wrong_is_called_so(opened: Page, fresh: Path) -> None:
    assert opened.page.locator(".why").inner_text() == "7 of 7 look so. 90 % likely wrong."
    opened.press("j")  # an ambiguous one
    assert opened.page.locator(".why").inner_text() == "7 of 7 look so. Score 0.89."


def test_a_link_on_another_site_opens_it(chromium: Any, url: str, fresh: Path) -> None:
    """As in the terminal of a notebook's page: by a redirect the browser would send no cookie."""
    context = chromium.new_context()
    page = context.new_page()
    link = {"body": f'<a href="{url}">open</a>', "content_type": "text/html"}
    page.route("http://notebook.example/", lambda route: route.fulfill(**link))
    page.goto("http://notebook.example/")
    page.get_by_text("open").click()
    page.wait_for_selector("h1")
    assert "token" not in page.url
    page.reload()
    page.wait_for_selector("h1")
    context.close()


def test_a_tab_of_an_earlier_start_decides_nothing_and_shows_no_photo_by_its_old_number(
    opened: Page, fresh: Path
) -> None:
    """Its questions and photos had other numbers; it has the new cookie, for a browser keeps one for all tabs."""
    opened.page.evaluate("start.session = 'earlier'")
    opened.press("a")
    assert "this page is of an earlier start" in opened.said
    assert not fresh.exists() or rows(fresh) == []
    opened.page.locator(".strip button").last.click()
    opened.page.wait_for_selector(".large .broken")
    assert "this page is of an earlier start" in opened.page.locator(".large .broken").inner_text()


@pytest.mark.parametrize("numbers", ["question: 9", "question: null, photo: 99999"])
def test_what_was_decided_on_an_earlier_start_is_undone_without_its_numbers(
    opened: Page, fresh: Path, numbers: str
) -> None:
    """A tab keeps its decisions when it is loaded again; the question or photo that has the number now may be another."""
    opened.press("a")
    at = opened.page.url
    opened.page.evaluate(f"Object.assign(state.undo.at(-1), {{session: 'earlier', {numbers}}})")
    opened.press("u")
    assert opened.said.startswith("Undone: ")
    assert opened.page.url == at


def test_clicks_do_what_keys_do(opened: Page, fresh: Path) -> None:
    for name in ("Accept", "Keep", "Skip", "Undo"):
        opened.page.get_by_role("button", name=name).click()
        opened.settled()
    assert (len(rows(fresh)), opened.at) == (3, 1)
    opened.page.get_by_role("button", name="Next").click()
    opened.settled()
    opened.page.get_by_label("Number").fill("44")
    opened.page.keyboard.press("Enter")
    opened.settled()
    assert rows(fresh)[-1][2] == "44"


def test_what_is_typed_into_a_field_is_no_key(opened: Page, fresh: Path) -> None:
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("akus1")
    opened.page.wait_for_selector("text=No question left that fits the filter")
    assert not fresh.exists()
    opened.page.locator("#text").fill("")
    opened.page.wait_for_selector("text=Accept")
    opened.page.select_option("#about", "pair")
    opened.page.wait_for_selector("text=Is this one person or two?")
    opened.page.select_option("#about", "unreadable")
    opened.page.wait_for_selector("text=is cut off before its end; replace it by the original")


def test_a_photo_zooms_by_key_and_by_click(opened: Page) -> None:
    width = "() => document.getElementById('zoom-photo').getBoundingClientRect().width"
    opened.press("z")
    first = opened.page.evaluate(width)
    opened.press("+")
    assert opened.page.evaluate(width) == pytest.approx(2 * first)
    opened.page.locator("#zoom-photo").click()
    assert opened.page.evaluate(width) == pytest.approx(4 * first)
    opened.press("z")
    assert not opened.page.locator("#zoom").is_visible()
    opened.page.locator(".large .shown").click()
    assert opened.page.locator("#zoom").is_visible()
    opened.press("Escape")
    assert not opened.page.locator("#zoom").is_visible()


def test_any_photo_is_found_and_relabelled(opened: Page, fresh: Path) -> None:
    opened.press("b")
    opened.page.locator(".list .shown").nth(8).click()
    opened.settled()
    opened.press("x", "x", "x", "2")
    assert rows(fresh) == [("mask", "wear", "incorrect")]
    opened.page.get_by_role("button", name="Take back").click()
    opened.settled()
    assert corrections.read(fresh)[-1].why == "undone"
    opened.press("d", "u")
    assert [row[2] for row in rows(fresh)[2:]] == ["removed", "there"]


def test_a_reload_shows_the_same_question_and_still_undoes(opened: Page, fresh: Path) -> None:
    opened.press("a", "s")
    opened.page.reload()
    opened.page.wait_for_selector("h1")
    assert opened.at == 2
    opened.press("u")
    assert corrections.read(fresh)[-1].why == "undone"


def test_two_browsers_on_one_question_are_told_of_each_other(
    chromium: Any, url: str, opened: Page, fresh: Path
) -> None:
    other = Page(chromium, url)
    opened.press("a")
    other.press("k")
    assert len(rows(fresh)) == 2
    assert "before you; both are kept, and yours holds" in other.said
    other.context.close()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        ("a laptop", "light"),
        ("a phone", "dark"),
        pytest.param("a laptop", "dark", marks=pytest.mark.slow),
        pytest.param("a phone", "light", marks=pytest.mark.slow),
    ],
)
def test_everything_can_be_read_and_nothing_stands_out_of_the_window(
    chromium: Any, url: str, fresh: Path, width: str, scheme: str
) -> None:
    found = Page(chromium, url, width, scheme)
    for keys in ((), ("a", "s"), ("b",), ("o",), ("?",)):
        if keys == ("o",):
            found.press("q")
        found.press(*keys)
        seen, faint = found.page.evaluate(CONTRAST)
        assert (seen > 10, faint) == (True, [])
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert found.page.evaluate(overflow) == 0
    assert found.wrong == []
    origin = url.partition("/?")[0]
    assert all(one.startswith(origin) for one in found.asked)
    found.context.close()


def test_on_a_phone_question_photo_and_decision_are_on_the_first_screen(chromium: Any, url: str, fresh: Path) -> None:
    found = Page(chromium, url, "a phone")
    for what in ("h1", ".large img", "text=Accept", "text=Keep", "text=Skip", "text=Undo"):
        box = found.page.locator(what).first.bounding_box()
        assert 0 <= box["y"] <= 844 - box["height"], what
    found.page.get_by_role("button", name="Accept").click()
    found.settled()
    assert len(rows(fresh)) == 1
    found.context.close()


FOCUSED = """
() => {
  const one = document.activeElement;
  const name = one.getAttribute("aria-label") || one.innerText || one.placeholder || one.querySelector("img")?.alt || one.tagName;
  return [name.split("\\n")[0], getComputedStyle(one).outlineWidth];
}
"""
READ = (
    "Skip",
    "Questions",
    "All photos",
    "Ask about",
    "Class",
    "Person or photo",
    "as ann",
    "Zoom",
    "Accept",
    "Keep",
    "Undo",
)


def test_tab_goes_through_everything_in_the_order_it_is_read_and_focus_is_seen(opened: Page, fresh: Path) -> None:
    names: list[str] = []
    while not names or not names[-1].startswith(("Skip to", "BODY")) or len(names) == 1:
        opened.page.keyboard.press("Tab")
        name, outline = opened.page.evaluate(FOCUSED)
        assert name == "BODY" or outline == "3px", name
        names.append(name)
        assert len(names) < 60
    found = [next((word for word in READ if name.startswith(word)), "") for name in names]
    assert list(dict.fromkeys(word for word in found if word)) == list(READ)
    assert names[-3:-1] == ["male", "female"]


def test_enter_on_a_button_decides_and_stays_on_that_button(opened: Page, fresh: Path) -> None:
    opened.page.get_by_role("button", name="Accept").focus()
    opened.press("Enter", "Enter")
    assert (len(rows(fresh)), opened.at) == (2, 2)
    assert opened.page.evaluate("document.activeElement.dataset.key") == "a"


def test_at_400_per_cent_no_button_lies_over_the_question(opened: Page, fresh: Path) -> None:
    opened.page.set_viewport_size({"width": 320, "height": 256})
    place = "(one) => document.querySelector(one).getBoundingClientRect()"
    question, buttons = (opened.page.evaluate(place, one) for one in (".panel > .box", ".deciding"))
    assert buttons["top"] >= question["bottom"]
