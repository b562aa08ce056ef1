"""Photos and tables that dvc.yaml does not name are told: `dvc repro` would not see them change."""

from pathlib import Path

import pytest

from stages import prepare
from stages.base.talk import Talk
from stages.data.watched_by_dvc import unwatched
from stages.params.load import load
from stages.params.schema import Params
from tests import layouts
from tests.conftest import small

TOLD = "dvc.yaml: prepare does not name {}, so `dvc repro` would not see it change; run `maskcli init --update`"


def watch(*deps: str) -> None:
    listed = ", ".join(f'"{name}"' for name in deps)
    Path("dvc.yaml").write_text(f"stages: {{prepare: {{cmd: maskcli prepare, deps: [{listed}]}}}}\n")


@pytest.mark.parametrize(
    ("deps", "told"),
    [
        (("${data.root}/old", "photos.csv"), "set/new"),
        (("${data.root}/old", "./${data.root}/new"), "photos.csv"),
        (("${data.root}", "photos.csv"), None),
        (("set/old/..", "photos.csv"), None),
        (("${other.root}", "photos.csv"), None),
    ],
)
def test_the_first_place_that_no_dependency_holds_is_named(deps: tuple[str, ...], told: str | None) -> None:
    watch(*deps)
    read = [Path("photos.csv"), Path("set/old"), Path("set/new/deeper")]
    params = Params.model_validate(small().model_dump() | {"data": {"root": "set"}})
    assert unwatched(params, read) == ([TOLD.format(told.replace("new", "new/deeper"))] if told else [])


def test_without_a_stage_of_dvc_there_is_nothing_to_tell() -> None:
    for text in (None, "stages: {}\n", "no: [yaml\n", "stages: {prepare: {cmd: maskcli prepare}}\n"):
        if text is not None:
            Path("dvc.yaml").write_text(text)
        assert unwatched(small(), [Path("anywhere")]) == []


def test_prepare_tells_of_photos_that_came_into_another_folder() -> None:
    layouts.table()()
    watch("${data.train}", "${data.root}/cat")
    said: list[str] = []
    prepare.run(load(), Talk(said.append))
    assert f"warning: {TOLD.format('pets/dog')}" in said
