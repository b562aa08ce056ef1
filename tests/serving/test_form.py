"""Photos in multipart forms, as browsers, curl and libraries send them, and what is none."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.serving import form
from stages.serving.form import BadForm, Part

KIND = "multipart/form-data; boundary=xyz"
HEAD = b'Content-Disposition: form-data; name="p"; filename="a.jpg"\r\n\r\n'


def body(*contents: bytes) -> bytes:
    return b"".join(b"--xyz\r\n" + HEAD + content + b"\r\n" for content in contents) + b"--xyz--\r\n"


@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([b"\r\n", b"--xy", b"\r\n--", b"\r\n\r\n--\r\n"]), max_size=5)
)
def test_contents_come_out_byte_for_byte(contents: list[bytes]) -> None:
    if not any(b"\r\n--xyz" in b"\r\n" + content for content in contents):
        assert form.parts(KIND, body(*contents), 5) == [Part("p", "a.jpg", content) for content in contents]


@given(st.binary(max_size=300), st.text(st.characters(codec="latin-1"), max_size=30))
def test_whatever_is_sent_is_read_or_refused(sent: bytes, kind: str) -> None:
    for content_type in (KIND, f"multipart/form-data; boundary={kind}"):
        for content in (sent, b"--xyz\r\n" + sent, b"--xyz\r\n" + sent + b"\r\n--xyz--"):
            try:
                form.parts(content_type, content, 3)
            except BadForm as error:
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ('content-disposition: FORM-DATA; name=p; filename=a.jpg', ("p", "a.jpg")),
        ('Content-Type: image/jpeg\r\nContent-Disposition: form-data; filename="a.jpg"; name="p"', ("p", "a.jpg")),
        ('Content-Disposition: form-data; name="p"; filename="a \\"b\\"; c.jpg"', ("p", 'a "b"; c.jpg')),
        ('Content-Disposition: form-data; name="p"; filename="김.jpg"', ("p", "김.jpg")),
        ('Content-Disposition: form-data; name="p"; filename=""', ("p", "")),
        ('Content-Disposition: form-data; name="p"', ("p", None)),
        ('Content-Disposition: form-data; name="filename=x"', ("filename=x", None)),
    ],
)  # fmt: skip
def test_names_are_read_as_clients_write_them(head: str, part: tuple[str, str | None]) -> None:
    sent = b"preamble\r\n--xyz  \r\n" + head.encode() + b"\r\n\r\nx\r\n--xyz--\r\nepilogue"
    assert form.parts(KIND, sent, 1) == [Part(*part, b"x")]


def test_header_lines_without_end_take_no_memory() -> None:
    sent = b"--xyz\r\n" + HEAD.rstrip() + b"\r\nab" * 500_000 + b"\r\n\r\nx\r\n--xyz--\r\n"
    tracemalloc.start()
    try:
        with pytest.raises(BadForm, match="a field has no header"):
            form.parts(KIND, sent, 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * len(sent)


@pytest.mark.parametrize("kind", ['multipart/form-data; boundary="xyz"', "Multipart/Form-Data; charset=x;boundary=xyz"])
def test_the_boundary_may_be_quoted_and_stand_anywhere(kind: str) -> None:
    assert form.parts(kind, body(b"1", b"2"), 2) == [Part("p", "a.jpg", b"1"), Part("p", "a.jpg", b"2")]


@pytest.mark.parametrize(
    ("kind", "sent", "line"),
    [
        ("multipart/form-data", body(b"1"), "its Content-Type names no boundary"),
        (KIND, b"", "its boundary does not occur in it"),
        (KIND, body(b"1")[:-4], "it is cut off before its end"),
        (KIND, body(b"1", b"2", b"3"), "it has more than 2 fields"),
        (KIND, b"--xyz\r\n\r\nx\r\n--xyz--", "a field has no header `Content-Disposition: form-data`: ''"),
        (KIND, b"--xyzabc\r\n" + HEAD + b"x\r\n--xyz--", "a field has no header"),
    ],
)
def test_what_is_no_form_is_one_line(kind: str, sent: bytes, line: str) -> None:
    with pytest.raises(BadForm) as told:
        form.parts(kind, sent, 2)
    assert str(told.value).startswith(line)
