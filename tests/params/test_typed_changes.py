"""Changes of params.yaml as a person types them, and as they are handed on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base.errors import UserError
from stages.params import typed_changes
from stages.params.typed_changes import grid

KEYS = st.sampled_from(["loss", "model.head", "lr", "train_bins.age", "augment.hflip", "train.batch_size"])
VALUES = st.one_of(
    st.sampled_from(["focal", "mlp", "none"]),
    st.booleans(),
    st.integers(0, 10**6),
    st.floats(1e-6, 1e6),
    st.lists(st.integers(0, 99), min_size=1, max_size=3),
)


def test_one_key_several_keys_and_several_values_of_one() -> None:
    assert grid("loss=focal") == [{"loss": "focal"}]
    assert grid("loss=ldam, model.head=mlp") == [{"loss": "ldam", "model.head": "mlp"}]
    assert grid("loss=focal,ldam,lr=1e-3") == [{"loss": "focal", "lr": 0.001}, {"loss": "ldam", "lr": 0.001}]
    assert grid("train_bins.age=[30,58],[30,57]") == [{"train_bins.age": [30, 58]}, {"train_bins.age": [30, 57]}]


@pytest.mark.parametrize("text", ["", "focal", "=focal", "loss=", "loss=focal,", ",loss=focal"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not `key=value`; write for instance --try loss=focal,ldam"):
        grid(text)


@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_a_name_is_read_as_the_changes_it_names(changes: dict[str, Any]) -> None:
    assert grid(typed_changes.name(changes)) == [changes]


def test_dvc_gets_a_switch_a_key_in_quotes_where_a_shell_needs_them_and_git_a_name_it_takes() -> None:
    changes = {"loss": "ldam", "train_bins.age": [30, 58], "lr": 0.0022}
    assert typed_changes.switches(changes) == "-S loss=ldam -S 'train_bins.age=[30,58]' -S lr=0.0022"
    assert typed_changes.experiment(changes) == "ldam-_30_58_-0.0022"
