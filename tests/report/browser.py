"""A page opened in headless Chromium, driven over its debugging pipe: no browser driver and no port is needed."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--remote-debugging-pipe",
)  # fmt: skip
# `outside`: what stands out to the right of the window, unless it may be scrolled sideways within its own box.
LOOK = """
const width = document.documentElement.clientWidth;
Promise.all([...document.images].map(image => image.decode().then(() => true, () => false))).then(decoded => ({
  images: decoded.length,
  broken: decoded.filter(done => !done).length,
  charts: document.querySelectorAll("img.chart").length,
  scaled: [...document.querySelectorAll("img.chart")]
    .filter(one => Math.abs(one.width - one.naturalWidth) > 1 || Math.abs(one.height - one.naturalHeight) > 1)
    .map(one => one.alt),
  classes: document.querySelector("picture img")?.width,
  body: Math.max(document.body.scrollWidth, document.documentElement.scrollWidth) - width,
  outside: [...document.querySelectorAll("body *")]
    .filter(one => !one.parentElement.closest(".scroll") && one.getBoundingClientRect().right > width + 0.5)
    .map(one => one.outerHTML.slice(0, 80)),
}))
"""


def look(page: Path, width: int, profile: Path, wait: float = 600.0) -> dict[str, Any]:
    """Open `page` in a window of `width` px: what LOOK finds, console errors, and requests for anything but page and data."""
    assert CHROMIUM
    to_browser, from_browser = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4; high numbers here cannot collide with these.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (to_browser[0], from_browser[1])]
    script = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
    words = ["bash", "-c", script, "bash", CHROMIUM, *QUIET, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(words, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return _Pipe(to_browser[1], from_browser[0], time.monotonic() + wait).look(page, width)
    finally:
        browser.kill()
        browser.wait()
        for end in (*to_browser, *from_browser, *ends):
            os.close(end)


class _Pipe:
    """Chromium's protocol over two pipes: JSON messages, each closed by a zero byte."""

    def __init__(self, write: int, read: int, deadline: float) -> None:
        self.write, self.read, self.deadline = write, read, deadline
        self.number, self.rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def look(self, page: Path, width: int) -> dict[str, Any]:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", {}, session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", size, session)
        self.call("Page.navigate", {"url": page.resolve().as_uri()}, session)
        while not self.named("Page.loadEventFired"):
            self.events.append(self.next())
        asked = {"expression": LOOK, "awaitPromise": True, "returnByValue": True}
        found = self.call("Runtime.evaluate", asked, session)["result"]["value"]
        requests = [event["request"]["url"] for event in self.named("Network.requestWillBeSent")]
        return found | {
            "errors": [
                *(event["entry"]["text"] for event in self.named("Log.entryAdded")),
                *self.named("Runtime.exceptionThrown"),
            ],
            "requests": [url for url in requests if not url.startswith("data:") and url != page.resolve().as_uri()],
        }

    def named(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            left = max(0.0, self.deadline - time.monotonic())
            assert select.select([self.read], [], [], left)[0], "Chromium did not answer in time"
            self.rest += os.read(self.read, 1 << 16)
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)
