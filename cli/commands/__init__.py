"""The commands in groups, in the order of the work, as `maskcli --help` lists them."""

from typing import Any

import typer
from typer.core import TyperGroup

GROUPS = {
    "Begin": ("init", "demo-data", "check"),
    "Stages, as `dvc repro` runs them": (
        *("prepare", "eda", "kfold", "lr-find", "train", "folds", "oof-ensemble", "tta-predict"),
    ),
    "Answers": ("summary", "compare", "runs", "epochs", "report", "plots", "score", "fill", "screen"),
    "Wrong labels": ("audit", "review"),
    "Better scores": ("tta-search", "blend", "refit", "pseudo-label"),
    "Take the model along": ("bundle", "predict", "export", "serve"),
    "More than one machine": ("cluster",),
    "With others": ("claim",),
    "Against the clock": ("submit-now",),
}
ORDER = [name for names in GROUPS.values() for name in names]


class InOrder(TyperGroup):
    """Lists the commands in the order of GROUPS, others after them."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def place(commands: typer.Typer) -> None:
    """Give each command its group."""
    of_name = {name: group for group, names in GROUPS.items() for name in names}
    for command in commands.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        command.rich_help_panel = of_name.get(name)
    for group in commands.registered_groups:
        group.rich_help_panel = of_name.get(str(group.typer_instance.info.name) if group.typer_instance else "")
