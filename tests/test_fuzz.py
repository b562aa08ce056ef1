"""Whatever stands in train.csv and params.yaml: one line for the person or whole outputs, never a traceback."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import prepare
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.params.load import load
from stages.params.schema import Params
from tests.conftest import small
from tests.test_bad_input import HEADER, ROWS, listing, template, tiny  # noqa: F401 -- fixtures

FAST = pytest.param(150)
SLOW = pytest.param(5000, marks=pytest.mark.slow)
IMAGE = {"height": 16, "width": 16, "margin": 0}


def thoroughly(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def altered(draw: st.DrawFn, content: bytes) -> bytes:
    """Valid content with a few places cut out or written over."""
    pieces = st.binary(max_size=4) | st.sampled_from(
        [b",", b'"', b"\n", b"\r\n", b"\0", b"one", b"2", b"..", b"\xef\xbb\xbf"]
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 6)))
        content = content[:start] + draw(pieces) + content[end:]
    return content


FIELDS = st.sampled_from(
    ["1", "2", "", " ", "male", "female", "30", "61", "200", "one", "two", "..", "/", ".", "one/", "김", "NA"]
)
LINES = st.lists(st.lists(FIELDS | st.text(max_size=3), min_size=4, max_size=6).map(",".join), max_size=4)
TABLES = (
    st.binary(max_size=100)
    | LINES.map(lambda lines: (HEADER + "\n".join(lines)).encode("utf-8", "surrogatepass"))
    | altered((HEADER + ROWS).encode())
)


@pytest.mark.parametrize("examples", [FAST, SLOW])
def test_any_bytes_as_train_csv(tiny: Path, examples: int) -> None:  # noqa: F811
    skip = small(image=IMAGE, data={"on_fault": "skip"})
    prepare.run(small(image=IMAGE), SILENT)
    outcomes = set()

    @thoroughly(examples)
    @given(TABLES, st.sampled_from([small(image=IMAGE), skip]))
    def check(content: bytes, params: Params) -> None:
        paths.TRAIN_CSV.write_bytes(content)
        names = [name for name in listing(Path("out")) if name != str(paths.FAULTS)]
        before = [Path(name).read_bytes() for name in names]
        try:
            prepare.run(params, SILENT)
        except UserError as error:
            message = str(error)
            assert message.isprintable()
            assert len(message) < 500
            assert before == [Path(name).read_bytes() for name in names]
            outcomes.add("refused")
        else:
            photos = pd.read_csv(paths.PHOTOS, dtype=str, keep_default_na=False)
            assert len(photos) == len(np.load(paths.PIXELS)) == 7 * photos["person"].nunique() > 0
            assert not photos["file"].duplicated().any()
            outcomes.add("prepared")
        assert sorted([*names, str(paths.FAULTS)]) == listing(Path("out"))

    check()
    assert outcomes == {"refused", "prepared"}


WORDS = st.sampled_from(["auto", "focal", "none", "light", "1e-3", "yes", "", "nan", "0", "a.b", "hflip"])
NUMBERS = st.integers(-2, 40) | st.integers() | st.floats() | st.sampled_from([0.5, 1.0, 2**64, 10**400])
VALUES: st.SearchStrategy[Any] = st.recursive(
    NUMBERS | WORDS | st.booleans() | st.none() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(0, 3), inner, max_size=2),
    max_leaves=6,
)


def groups() -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with the keys of params.yaml, most of them, and any values."""
    plain = {}
    for name, field in Params.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        keys = st.sampled_from(sorted(inner)) | WORDS if inner else st.nothing()
        plain[name] = VALUES | st.dictionaries(keys, VALUES, max_size=3) if inner else VALUES
    return st.fixed_dictionaries({}, optional=plain)


DOCUMENTS = (
    st.binary(max_size=100)
    | st.text(st.sampled_from("ab:- \n{}[]&*!|>'\"%@,#?1.\t"), max_size=60).map(str.encode)
    | altered(yaml.safe_dump(Params().model_dump(mode="json"), sort_keys=False).encode())
    | groups().map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))
)


@pytest.mark.parametrize("examples", [pytest.param(300), SLOW])
def test_any_bytes_as_params_yaml(examples: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        outcomes = set()

        @thoroughly(examples)
        @given(DOCUMENTS)
        def check(content: bytes) -> None:
            path.write_bytes(content)
            try:
                params = load(path)
            except UserError as error:
                message = str(error)
                assert message.startswith(str(path))
                assert message.isprintable()
                assert len(message) < len(str(path)) + 600
                outcomes.add("refused")
            else:
                assert load(path) == params
                outcomes.add("read")

        check()
        assert outcomes == {"refused", "read"}
