"""What a browser gets for what cannot be shown or written, word for word as docs/bad_input.md has it."""

from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from tests.review import refusals
from tests.review.made import reviewing
from tests.test_bad_input import documented


@pytest.mark.parametrize("case", refusals.ANSWERS)
def test_the_answer_is_one_line(project: Path, case: str) -> None:
    lay_out, ask = refusals.ANSWERS[case]
    lay_out()
    with reviewing() as browser:
        status, said, _ = ask(browser)
    assert f"{status}: {said.decode()}" == documented()[case]
