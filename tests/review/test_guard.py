"""Who is let in to the page, whose writes are taken, and which requests are none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("uvicorn")

from stages.base import paths
from stages.data import corrections
from stages.review import guard
from stages.review.guard import Access
from tests.review.made import Browser, copied, reviewing, suspects


@pytest.fixture(scope="module")
def folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(prepared, tmp_path_factory.mktemp("guarded") / "project")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        suspects()
        with reviewing() as found:
            yield found


@pytest.fixture
def browser(served: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    monkeypatch.chdir(folder)  # the server is in this process
    return served


def test_the_printed_url_becomes_a_cookie_and_a_url_without_the_token(browser: Browser) -> None:
    status, _, headers = Browser(browser.port).ask(f"/?token={browser.token}", Sec_Fetch_Site="none")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert cookie.startswith(f"maskcli_review_{browser.port}={browser.token};")
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert browser.ask("/")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", ""])
def test_a_browser_that_another_site_sent_is_led_on_by_a_page(browser: Browser, site: str) -> None:
    """It sends no strict cookie through a redirect; who says nothing of where it comes from may be such a one."""
    status, said, headers = Browser(browser.port).ask(f"/?token={browser.token}", Sec_Fetch_Site=site)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"url=/" in said
    assert browser.token.encode() not in said
    assert headers["set-cookie"].startswith(f"maskcli_review_{browser.port}={browser.token};")


@pytest.mark.parametrize(
    "path", ["/", "/review.js", "/question", "/photos", "/photo/0", "/photo/0/small.jpg", "/nowhere"]
)
def test_without_the_token_nothing_is_shown(browser: Browser, path: str) -> None:
    for own in ("", f"maskcli_review_{browser.port}=wrong", f"maskcli_review_1={browser.token}"):
        assert Browser(browser.port, cookie=own).ask(path)[:2] == (403, guard.LACKING.encode())
    assert Browser(browser.port).ask(f"{path}?token=wrong")[:2] == (403, guard.LACKING.encode())
    assert Browser(browser.port).ask(f"{path}?token=%ff%00")[0] == 403


def test_a_page_is_answered_by_the_start_that_it_is_of_and_by_no_other(browser: Browser) -> None:
    session = json.loads(browser.get("/").split(b'id="start">')[1].split(b"</script>")[0])["session"]
    for path in ("/question", "/photos", "/photo/0", "/photo/0/small.jpg"):
        assert browser.ask(f"{path}?session={session}")[0] == 200
        assert browser.ask(f"{path}?session=earlier")[:2] == (409, guard.EARLIER.encode())
    assert browser.ask("/decide?session=earlier", {})[:2] == (409, guard.EARLIER.encode())


def test_each_session_has_a_token_of_its_own_of_192_bits() -> None:
    tokens = {Access(1, "a").token for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) == 32


@pytest.mark.parametrize(
    "origin",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example:{port}"},
        {"Origin": "", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "", "Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/decide", "/undo"])
def test_a_write_from_another_site_is_refused(browser: Browser, path: str, origin: dict[str, str]) -> None:
    named = {name: value.format(port=browser.port) for name, value in origin.items()}
    assert browser.ask(path, {"id": "1"}, **named)[:2] == (403, guard.OTHER_SITE.encode())
    assert not paths.CORRECTIONS.exists()


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "[::1", "x y", "@127.0.0.1x"]
)
def test_a_name_that_another_site_points_here_is_refused(browser: Browser, name: str) -> None:
    assert browser.ask("/", Host=name.format(port=browser.port))[:2] == (403, guard.OTHER_NAME.encode())


@pytest.mark.parametrize(
    "name", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "192.168.1.7:{port}", "LOCALHOST"]
)
def test_addresses_and_names_of_this_machine_are_taken(browser: Browser, name: str) -> None:
    assert browser.ask("/", Host=name.format(port=browser.port))[0] == 200


def test_every_answer_forbids_what_the_page_does_not_need(browser: Browser) -> None:
    for path in ("/", "/photo/0/small.jpg", "/question", "/nowhere"):
        headers = browser.ask(path)[2]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "access-control-allow-origin" not in headers
    assert browser.ask("/photo/0/small.jpg")[0] == 200
    assert browser.ask("/question")[2]["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "POST"])
def test_other_methods_write_nothing(browser: Browser, method: str) -> None:
    assert browser.ask("/photo/0", method=method, Origin=f"http://127.0.0.1:{browser.port}")[0] == 405
    assert browser.ask("/photo/0", method=method)[0] == 403


def test_the_page_asks_for_nothing_from_elsewhere(browser: Browser) -> None:
    for path in ("/", "/review.css", "/review.js"):
        text = browser.ask(path)[1].decode()
        assert "http://" not in text
        assert "https://" not in text
        assert "url(" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/photo/../../secret.jpg",
        "/photo/..%2f..%2fsecret.jpg/large.jpg",
        "/photo/0/..%2f..%2f..%2fsecret.jpg",
        "/review.css/../../guard.py",
        "/page/review.html.jinja",
        "/photo/-1/large.jpg",
        "/photo/999999999999999999999/large.jpg",
        pytest.param(f"/photo/{'9' * 5000}", id="5000 digits"),
        pytest.param(f"/photo/{'9' * 5000}/large.jpg", id="5000 digits of a picture"),
        "/photo/%C2%B2",
        "/photo/1_0",
        "/photo/168/large.jpg",
        "/photo/0/huge.jpg",
        "//etc/passwd",
        "/corrections.csv",
    ],
)
def test_no_path_is_a_file_of_this_machine(browser: Browser, path: str) -> None:
    Image.new("RGB", (9, 9)).save("secret.jpg")
    assert browser.ask(path)[0] in (404, 405)


NAUGHTY = {
    "no JSON": (b"{", 400),
    "a list": ([1], 400),
    "a number for a name": ({"id": 1, "axis": "mask", "new": "wear", "seen": 0}, 400),
    "a question that is not there": ({"id": "1", "axis": "mask", "new": "wear", "seen": 0, "question": 99}, 400),
    "true for a question": ({"id": "1", "axis": "mask", "new": "wear", "seen": 0, "question": True}, 400),
    "an unknown photo": ({"id": "../x", "axis": "mask", "new": "wear", "seen": 0, "question": None}, 409),
    "an unknown axis": ({"id": "000001", "axis": "nose", "new": "wear", "seen": 0, "question": None}, 409),
    "an unknown level": ({"id": "000001", "axis": "gender", "new": "=1+1", "seen": 0, "question": None}, 409),
    "an unknown group": ({"id": "000001", "axis": "group", "new": "nobody", "seen": 0, "question": None}, 409),
    "a photo made of something": ({"id": "000001", "axis": "photo", "new": "removed", "seen": 0, "question": None}, 409),
    "21,000 bytes": ({"id": "x" * 21_000}, 413),
}  # fmt: skip


@pytest.mark.parametrize("case", NAUGHTY)
def test_what_is_no_decision_is_refused_and_nothing_is_written(browser: Browser, case: str) -> None:
    body, status = NAUGHTY[case]
    assert browser.ask("/decide", body)[0] == status
    assert browser.ask("/undo", body if isinstance(body, bytes) else {"row": body})[0] in (400, 409, 413)
    assert corrections.read() == []
