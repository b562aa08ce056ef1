"""The page in headless Chromium, of folders whose names are unlike the contest's: quotes, letters from right to left, many."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from stages import prepare
from stages.base import paths
from stages.base.talk import SILENT
from stages.data import corrections
from stages.params.load import load
from tests import layouts
from tests.report.browser import CHROMIUM
from tests.review.made import reviewing

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian, Ubuntu: apt install chromium)"),
]
QUOTED, BLACK, SMALL = 'say "a" \\ & <b>', "חתול שחור", "חתול קטן"
# A key as a keyboard sends it under Caps Lock, and one that writes Korean.
SENDS = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))"


@contextmanager
def page(*classes: str, given: str = "", suggested: str = "") -> Iterator[Any]:
    """The page of photos in such folders, with a suspect or without."""
    layouts.photo(*(f"{name}/{photo}.png" for name in classes for photo in (1, 2)))()
    layouts.params({"layout": "folder", "root": "pets"})
    prepare.run(load(), SILENT)
    if given:
        paths.SUSPECTS.parent.mkdir(parents=True)
        row = f"{given}/1.png,label,{given},{suggested},0.9,0,looks so"
        paths.SUSPECTS.write_text(f"id,axis,given,suggested,score,ambiguous,why\n{row}\n", encoding="utf-8")
    with reviewing() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies(
            [{"name": name, "value": value, "domain": "127.0.0.1", "path": "/"}
             for name, value in [server.cookie.split("=", 1)]]
        )  # fmt: skip
        opened = context.new_page()
        opened.goto(f"http://127.0.0.1:{server.port}/{'' if given else '#photo-0'}")
        opened.wait_for_selector("h1")
        yield opened
        browser.close()


@pytest.fixture(autouse=True)
def _in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settled(opened: Any) -> str:
    opened.wait_for_function("() => !state.busy")
    return str(opened.locator("#status").inner_text())


def decided() -> list[tuple[str, str]]:
    return [(row.old, row.new) for row in corrections.read(Path("corrections.csv"))]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_level_with_quotes_in_its_name_is_saved_and_said_to_be() -> None:
    with page("cat", QUOTED) as opened:
        opened.get_by_role("button", name=QUOTED, exact=True).focus()
        opened.keyboard.press("Enter")
        assert settled(opened).startswith("Saved: label of ")
        assert opened.evaluate("document.activeElement.innerText").startswith(QUOTED)
    assert decided() == [("cat", QUOTED)]


def test_digits_decide_only_where_they_stand_beside_a_level() -> None:
    many = [f"kind {number:02d}" for number in range(13)]
    with page(*many, given=many[0], suggested=many[1]) as opened:
        for place in ("#question-0", "#photo-0"):
            opened.evaluate(f"location.hash = '{place}'")
            opened.reload()
            opened.wait_for_selector("h1")
            assert opened.locator("kbd.digit").count() == 0
            opened.keyboard.press("3")
            settled(opened)
            assert decided() == []
        opened.evaluate("location.hash = '#question-0'")
        opened.reload()
        opened.wait_for_selector("h1")
        opened.keyboard.press("a")
        settled(opened)
    assert decided() == [(many[0], many[1])]


def test_an_arrow_between_names_from_right_to_left_leads_from_the_old_one_to_the_new_one() -> None:
    with page(BLACK, SMALL, given=BLACK, suggested=SMALL) as opened:
        opened.keyboard.press("a")
        said = settled(opened)
        assert f"\u2068{BLACK}\u2069 → \u2068{SMALL}\u2069" in said
        left = opened.evaluate(
            """(name) => {
              const text = document.getElementById("status").firstChild;
              const range = document.createRange();
              const at = text.data.lastIndexOf(name);
              range.setStart(text, at);
              range.setEnd(text, at + name.length);
              const arrow = document.createRange();
              arrow.setStart(text, text.data.indexOf("→"));
              arrow.setEnd(text, text.data.indexOf("→") + 1);
              return arrow.getBoundingClientRect().left - range.getBoundingClientRect().left;
            }""",
            SMALL,
        )
        assert left < 0, "the new one stands to the right of the arrow"


@pytest.mark.parametrize(("key", "code"), [("A", "KeyA"), ("ㅁ", "KeyA"), ("Process", "KeyA")])
def test_keys_also_work_under_caps_lock_and_with_a_keyboard_of_other_letters(key: str, code: str) -> None:
    with page("cat", "dog", given="cat", suggested="dog") as opened:
        opened.evaluate(SENDS, [key, code])
        settled(opened)
    assert decided() == [("cat", "dog")]


def test_the_zoom_opens_and_closes_under_caps_lock() -> None:
    with page("cat", "dog") as opened:
        for place, shown in (("body", True), ("getElementById('zoom')", False)):
            opened.evaluate(SENDS.replace("body", place), ["Z", "KeyZ"])
            assert opened.locator("#zoom").is_visible() == shown


def test_a_letter_that_is_written_with_alt_gr_decides_nothing() -> None:
    """On Linux it comes without ctrl and alt: German alt gr and a is ae, in the place of a."""
    with page("cat", "dog", given="cat", suggested="dog") as opened:
        opened.evaluate(SENDS.replace("bubbles", "modifierAltGraph: true, bubbles"), ["æ", "KeyA"])
        settled(opened)
    assert decided() == []
