"""A service on a free port, in a thread of the test's own process, whose model is a few lines."""

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from stages.base import http_server
from stages.base.errors import UserError
from stages.data import decode
from stages.serving import app
from stages.serving.app import Model
from stages.serving.batching import Batches
from stages.serving.incoming import Bounds
from stages.serving.watched import Seen

SIZE = 16, 12
BATCHES = Batches(most=8, waiting=64, seconds=0.02)
BOUNDS = Bounds(bytes=200_000, photos=8, memory=2_000_000, seconds=20.0)


@dataclass
class Service:
    """Where it listens, and what it told."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    def ask(
        self, method: str = "POST", path: str = "/predict", body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, what the JSON says (or the text), and headers. `Content_Type` is the header Content-Type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            text = answer.read().decode()
            known = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, json.loads(text) if known.get("content-type") == "application/json" else text, known
        finally:
            connection.close()

    def post(self, photo: bytes, kind: str = "image/jpeg", query: str = "") -> tuple[int, Any]:
        status, said, _ = self.ask("POST", f"/predict{query}", photo, Content_Type=kind)
        return status, said

    def metric(self, line: str) -> float:
        """A line of /metrics by how it begins."""
        text = self.ask("GET", "/metrics")[1]
        return float(next(one for one in text.splitlines() if one.startswith(f"{line} ")).rpartition(" ")[2])


def brightness(pixels: np.ndarray) -> np.ndarray:
    """Probabilities [n, 2] of dark and light."""
    light = pixels.reshape(len(pixels), -1).mean(1) / 255
    return np.stack([1 - light, light], 1)


def told(probabilities: np.ndarray, listed: bool) -> list[dict[str, Any]]:
    names = ("dark", "light")
    return [
        {"label": names[row.argmax()], "probability": float(row.max())}
        | ({"probabilities": dict(zip(names, row.tolist(), strict=True))} if listed else {})
        for row in probabilities
    ]


def read(content: bytes) -> np.ndarray:
    try:
        return decode.decode_content(content, *SIZE, max_pixels=1_000_000).pixels
    except decode.BadPhoto as fault:
        raise UserError(str(fault)) from None


@contextmanager
def running(
    run: Callable[[np.ndarray], np.ndarray] = brightness,
    batches: Batches = BATCHES,
    bounds: Bounds = BOUNDS,
    model: Model | None = None,
) -> Iterator[Service]:
    """run: of the few lines' model; model: another one in its place."""
    place = http_server.bound("127.0.0.1", 0)
    http_server.listen(place, "127.0.0.1")
    service = Service(place.getsockname()[1])
    model = model or Model("abc", SIZE, read, run, told)
    made = http_server.made(app.application(model, batches, bounds, 2, service.seen.append), bounds.seconds)
    thread = threading.Thread(target=http_server.run, args=(made, place, bounds.seconds))
    thread.start()
    try:
        yield service
    finally:
        made.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def jpeg(grey: int, size: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


def form(**photos: bytes) -> tuple[bytes, str]:
    """A multipart body and its content type, as curl -F makes them."""
    parts = [
        f'--xyz\r\nContent-Disposition: form-data; name="photo"; filename="{name}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in photos.items()
    ]
    return b"".join(parts) + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


def until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
