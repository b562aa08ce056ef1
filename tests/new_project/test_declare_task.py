"""What a person says of the data is taken, or refused where it means nothing; never passed over."""

from dataclasses import fields
from typing import Any

import pytest
from typer.main import get_command

from cli.commands import begin
from stages.base.errors import UserError
from stages.new_project import declare_task
from stages.new_project.declare_task import PHOTOS, SAID_OF, Said, require_used

GIVEN: dict[str, Any] = {
    "layout": "table",
    "labels": ("kind",),
    "group": "",
    "scratch": True,
    "overwrite": True,
    "add": False,
}
OF_ANY = {"--into", "--demo", "--update", "--yes", "--dry-run", "--json"}


def test_every_option_of_init_is_of_some_kind_of_project_or_of_all() -> None:
    assert set(SAID_OF) == {field.name for field in fields(Said)}
    init: Any = get_command(begin.commands).commands["init"]  # type: ignore[attr-defined]
    options = [given for given in init.params if given.param_type_name == "option"]
    flags = {next(name for name in given.opts if name.startswith("--")) for given in options} - {"--help"}
    assert flags == OF_ANY | {flag for flag, _ in SAID_OF.values()}


@pytest.mark.parametrize("name", SAID_OF)
@pytest.mark.parametrize("of", [*PHOTOS, *declare_task.INSTEAD])
def test_what_means_nothing_is_refused_by_its_flag(name: str, of: str) -> None:
    flag, meant = SAID_OF[name]
    said = Said(**{name: GIVEN.get(name, "something")})
    if of in meant:
        require_used(said, of)
    else:
        with pytest.raises(UserError, match=rf"^{flag}: (the layout )?{of} has no use for it; leave it out"):
            require_used(said, of)
    require_used(Said(), of)
