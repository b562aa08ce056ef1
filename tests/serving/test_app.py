"""The service as its clients see it: what it answers, what it refuses and how, and that nothing a client does is an error 500."""

import http.client
import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn")

from stages.base import http_server
from stages.serving.batching import Batches
from tests.serving.running import BATCHES, BOUNDS, Service, brightness, form, jpeg, running, until

LIGHT, DARK = jpeg(240), jpeg(10)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as found:
        yield found


def test_a_photo_gets_its_label_and_probability(service: Service) -> None:
    status, said = service.post(LIGHT)
    assert (status, said["label"], said["model"]) == (200, "light", "abc")
    assert said["probability"] == pytest.approx(240 / 255, abs=1e-3)
    assert "probabilities" not in said


def test_probabilities_are_listed_on_request(service: Service) -> None:
    _, said = service.post(DARK, query="?probabilities=1")
    assert said["probabilities"]["dark"] == said["probability"]
    assert "probabilities" not in service.post(DARK, query="?probabilities=0")[1]


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG", "application/octet-stream", "image/jpeg; charset=x"])
def test_the_content_decides_what_a_photo_is_not_its_named_type(service: Service, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(buffer, "PNG")
    assert service.post(buffer.getvalue(), kind)[1]["label"] == "light"


def test_a_body_without_a_type_is_taken_for_a_photo(service: Service) -> None:
    assert service.ask(body=LIGHT)[1]["label"] == "light"


def test_a_form_of_several_photos_gets_a_list_with_errors_in_their_place(service: Service) -> None:
    body, kind = form(a=LIGHT, b=b"text", c=DARK)
    status, said = service.post(body, kind)
    assert (status, said["model"], [one["file"] for one in said["photos"]]) == (200, "abc", ["a.jpg", "b.jpg", "c.jpg"])
    assert [one.get("label") for one in said["photos"]] == ["light", None, "dark"]
    assert said["photos"][1]["error"] == "is not a photo that can be read; replace it by a JPEG or PNG"
    assert service.post(*form(a=b""))[0] == 422


def bomb(side: int) -> bytes:
    """A PNG's header that tells of side x side pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + check + bytes(4) + b"IDAT" + bytes(1000)


UNREADABLE = {
    "an empty body": (b"", "is empty (zero bytes); replace it by the original"),
    "text": (b"hello", "is not a photo that can be read; replace it by a JPEG or PNG"),
    "half a JPEG": (LIGHT[:300], "is cut off before its end; replace it by the original"),
    "a GIF": (b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "is GIF, not JPEG or PNG; convert it"),
    "a URL": (b"http://169.254.169.254/latest", "is not a photo that can be read; replace it by a JPEG or PNG"),
    "a path": (b"/etc/passwd", "is not a photo that can be read; replace it by a JPEG or PNG"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_photo_is_422_with_the_line(service: Service, case: str) -> None:
    content, line = UNREADABLE[case]
    assert service.post(content) == (422, {"error": f"the photo {line}"})


def test_too_many_pixels_are_refused_before_they_are_decoded(service: Service) -> None:
    assert service.post(bomb(2_000), "image/png") == (
        422,
        {"error": "the photo is 2000x2000, more than 1000000 pixels; shrink it, or raise data.max_pixels"},
    )
    status, said = service.post(bomb(20_000), "image/png")
    assert (status, "has more than 1000000 pixels" in said["error"]) == (422, True)


REFUSED = {
    "too many bytes": (413, {"body": bytes(200_001)}, "the request has more than 200,000 bytes"),
    "text": (415, {"body": b"x", "Content_Type": "text/plain"}, "content type `text/plain`: send a JPEG or PNG (curl -F"),
    "a form of curl -d": (415, {"body": b"x", "Content_Type": "application/x-www-form-urlencoded"}, "content type `appl"),
    "a packed body": (415, {"body": LIGHT, "Content_Encoding": "gzip"}, "a body with a Content-Encoding"),
    "an unknown query": (400, {"path": "/predict?probabilites=1", "body": LIGHT}, "query: `probabilites=1` is not known"),
    "a URL to fetch": (400, {"path": "/predict?url=http://a/b.jpg", "body": LIGHT}, "query: `url=http://a/b.jpg` is not"),
    "a field that is no file": (
        400,
        {"body": b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://a\r\n--x--'}
        | {"Content_Type": "multipart/form-data; boundary=x"},
        "the form's field `url` is no file",
    ),
    "a form without an end": (400, {"body": b"--x\r\n", "Content_Type": "multipart/form-data; boundary=x"}, "the form cannot"),
    "a form without a photo": (400, {"body": b"--x--", "Content_Type": "multipart/form-data; boundary=x"}, "the form holds"),
    "GET": (405, {"method": "GET"}, "/predict takes POST only"),
    "DELETE /health": (405, {"method": "DELETE", "path": "/health"}, "/health takes GET only"),
    "another path": (404, {"method": "GET", "path": "/../etc/passwd"}, "there is no such path; POST /predict answers"),
    "a slash too many": (404, {"path": "/predict/", "body": LIGHT}, "there is no such path"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(service: Service, case: str) -> None:
    status, asked, line = REFUSED[case]
    found, said, _ = service.ask(**asked)
    assert found == status
    assert said["error"].startswith(line)


def test_a_form_of_too_many_photos_is_refused(service: Service) -> None:
    status, said = service.post(*form(**{f"p{number}": DARK for number in range(9)}))
    assert (status, "more than 8 fields" in said["error"]) == (400, True)


def test_the_connection_goes_on_after_a_refused_body(service: Service) -> None:
    """The rest of a body that nobody wants is read, so that its sender sees the answer and may ask again."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    for _ in range(3):
        connection.request("POST", "/predict", bytes(3_000_000), {"Content-Type": "text/plain"})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (415, True)
    connection.close()


def test_a_body_that_does_not_tell_its_size_is_refused_where_it_grows_too_large(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("POST", "/predict", iter([bytes(90_000)] * 3), {"Content-Type": "image/jpeg"})
    assert connection.getresponse().status == 413
    connection.close()


def test_who_asks_before_sending_is_refused_without_a_byte(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n")
        said = everything(client)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in said.lower()


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["text", "TLS", "a negative length", "a broken chunk", "a long path"],
)
def test_what_is_no_http_is_400_and_the_service_goes_on(service: Service, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        said = everything(client)
    assert not said or said.startswith(b"HTTP/1.1 4")
    assert service.post(LIGHT)[0] == 200


def everything(client: socket.socket) -> bytes:
    client.settimeout(60)
    said = b""
    try:
        while more := client.recv(65536):
            said += more
    except ConnectionError:
        pass
    return said


def test_health_and_metrics_tell_of_the_service() -> None:
    with running() as service:
        assert service.ask("GET", "/health")[:2] == (200, {"status": "ready", "model": "abc"})
        service.post(LIGHT)
        service.post(b"text")
        service.ask("GET", '/a"b{')
        assert service.metric('maskcli_requests_total{path="/predict",status="200"}') == 1
        assert service.metric('maskcli_requests_total{path="/predict",status="422"}') == 1
        assert service.metric('maskcli_requests_total{path="other",status="404"}') == 1
        assert service.metric('maskcli_photos_total{outcome="unreadable"}') == 1
        assert service.metric('maskcli_request_seconds_bucket{le="+Inf"}') == 2
        assert service.metric("maskcli_photos_waiting") == 0
        assert service.metric("maskcli_requests_in_progress") == 1  # this one
        assert {(one.path, one.status) for one in service.seen} >= {("/predict", 200), ("/predict", 422)}


class Held:
    """A model that waits until it is let go, and keeps how many photos it was given at a time."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.let_go.set()  # for the warm-up
        self.given: list[int] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.given.append(len(pixels))
        assert self.let_go.wait(60)
        return brightness(pixels)


def in_thread(service: Service, photo: bytes = LIGHT) -> tuple[threading.Thread, list[object]]:
    said: list[object] = []
    thread = threading.Thread(target=lambda: said.append(service.ask(body=photo)))
    thread.start()
    return thread, said


def test_photos_that_come_while_the_networks_run_go_through_together() -> None:
    model = Held()
    with running(model) as service:
        model.let_go.clear()
        first, _ = in_thread(service)
        until(lambda: len(model.given) == 3)
        others = [in_thread(service) for _ in range(7)]
        until(lambda: service.metric("maskcli_photos_waiting") == 8)
        model.let_go.set()
        for thread, _ in [(first, []), *others]:
            thread.join()
        assert all(said[0][0] == 200 for _, said in others)  # type: ignore[index]
        assert model.given == [1, 8, 1, 7]  # the warm-up's two first
        assert service.metric('maskcli_batch_photos_bucket{le="8"}') == 2


def test_a_full_queue_is_503_with_retry_after() -> None:
    model = Held()
    with running(model, replace(BATCHES, waiting=2)) as service:
        model.let_go.clear()
        threads = [in_thread(service)[0] for _ in range(2)]
        until(lambda: service.metric("maskcli_photos_waiting") == 2)
        status, said, headers = service.ask(body=LIGHT)
        assert (status, headers["retry-after"]) == (503, "1")
        assert said["error"] == "busy: 2 photos wait; try again in a second"
        model.let_go.set()
        for thread in threads:
            thread.join()
        assert service.post(LIGHT)[0] == 200


def test_bodies_that_fill_the_memory_are_503() -> None:
    with running(bounds=replace(BOUNDS, memory=100_000)) as service:
        for _ in range(3):  # what is taken is given back
            status, said, headers = service.ask(body=bytes(100_001))
            assert (status, headers["retry-after"]) == (503, "1")
            assert said["error"].startswith("busy: ")
            assert service.post(bytes(99_000))[0] == 422


def test_an_answer_that_takes_too_long_is_504_and_health_says_that_it_is_stuck() -> None:
    model = Held()
    with running(model, bounds=replace(BOUNDS, seconds=0.3)) as service:
        model.let_go.clear()
        status, said = service.post(LIGHT)
        assert (status, said["error"]) == (504, "no answer within 0.3 s; try again")
        until(lambda: service.ask("GET", "/health")[0] == 503)
        model.let_go.set()
        until(lambda: service.ask("GET", "/health")[0] == 200)
        assert service.post(LIGHT)[0] == 200


def test_what_a_client_asked_for_that_is_gone_is_not_done() -> None:
    model = Held()
    with running(model) as service:
        model.let_go.clear()
        first, _ = in_thread(service)
        until(lambda: len(model.given) == 3)
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LIGHT) + LIGHT)
            until(lambda: service.metric("maskcli_photos_waiting") == 2)
        until(lambda: service.metric("maskcli_photos_waiting") == 1)
        model.let_go.set()
        first.join()
        assert service.post(LIGHT)[0] == 200
        assert model.given == [1, 8, 1, 1]
        assert service.metric('maskcli_requests_total{path="/predict",status="499"}') == 1


def test_a_body_that_does_not_arrive_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.serving.watched.LINGER", 0.1)
    with running(bounds=replace(BOUNDS, seconds=0.3)) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
            said = everything(client)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 0.3 s" in said


@pytest.mark.parametrize("sent", [b"", b"POST /predict HT"], ids=["nothing", "half a line"])
def test_a_client_that_sends_no_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http_server, "HEAD", 0.5)
    with running() as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(sent)
        began = time.monotonic()
        assert everything(client) == b""
        assert time.monotonic() - began < 30


def test_a_model_that_fails_is_told_and_the_next_photo_is_answered() -> None:
    """No input does this: it is a fault of the machine or of the program, and the one way to a 500."""
    fails = [False, False, True, False]

    def run(pixels: np.ndarray) -> np.ndarray:
        if fails.pop(0):
            raise RuntimeError("out of memory")
        return brightness(pixels)

    with running(run, Batches(8, 64, 0.0)) as service:
        assert service.post(LIGHT) == (500, {"error": "unexpected RuntimeError; the service's log says more"})
        assert service.post(LIGHT)[0] == 200
