"""plots: DVC's own plots as PNG or SVG files, drawn here, since DVC's HTML takes its drawing library from a CDN."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from stages.base import git, paths, programs
from stages.base.errors import UserError
from stages.base.files import replacing
from stages.base.revisions import WORKSPACE
from stages.base.talk import Talk
from stages.records import past_runs

Format = Literal["png", "svg"]


def run(talk: Talk, revisions: list[str], kind: Format = "png", output: Path = paths.PLOTS) -> list[Path]:
    """Draw every plot of dvc.yaml, of the workspace or of `revisions` over each other; return the files.

    Raises UserError if there is no such revision, with DVC's own message if DVC refuses, or if there is nothing to plot.
    """
    for revision in revisions:
        if revision != WORKSPACE:
            git.resolve(revision)
    plots, problems = ask_dvc(revisions)
    not_run = [past_runs.not_run(name, past_runs.of_revision(name)) for name in revisions or [WORKSPACE]]
    for problem in [*problems, *filter(None, not_run)]:
        talk.say(f"plots: {problem}")
    drawn = []
    named = name_files(plots)
    for name, spec in talk.track(named.items(), len(named), "plots"):
        path = output / f"{name}.{kind}"
        picture = render(in_order(spec, revisions), kind, name)
        with replacing(path) as temporary:
            temporary.write_bytes(picture)
        drawn.append(path)
    if not drawn:
        raise UserError("plots: DVC has nothing to plot; run `dvc repro` first, or name revisions that have results")
    return drawn


def ask_dvc(revisions: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Per plot its Vega-Lite specifications as DVC fills them in, and what DVC could not find."""
    words = ["plots", "diff" if revisions else "show", "--json", *revisions]
    try:
        printed = programs.dvc(words, Path(), "see `git log --oneline` and `dvc exp list` for revisions")
    except UserError as error:
        if "not owned by" in str(error):
            git.refs()  # says in one line whose the repository is, and what git asks for
        raise
    answer = json.loads(printed)
    plots = {
        name: [_spec(item["content"]) for item in items if item.get("type") == "vega" and item.get("content")]
        for name, items in answer.get("data", {}).items()
    }
    problems = [
        f"{error.get('rev', '')}: {error.get('source') or error.get('name')}: {error.get('msg') or error.get('type')}"
        for error in answer.get("errors", [])
    ]
    return plots, list(dict.fromkeys(problems))


def name_files(plots: dict[str, list[Any]]) -> dict[str, Any]:
    """Specifications by file name without suffix: the plot's name up to its brackets, as `validation-macro-f1`."""
    named: dict[str, Any] = {}
    for name, specs in plots.items():
        words = re.sub(r"[^a-z0-9]+", "-", name.split("(")[0].lower()).strip("-")[:60] or "plot"
        for spec in specs:
            unique, number = words, 2
            while unique in named:
                unique, number = f"{words}-{number}", number + 1
            named[unique] = spec
    return named


def in_order(spec: Any, revisions: list[str]) -> Any:
    """The specification with its data in the order of `revisions`, by which templates give colours, as the report does.

    DVC puts the workspace first.
    """
    places = {revision: place for place, revision in enumerate(revisions)}
    values = sorted(spec["data"]["values"], key=lambda row: places.get(row.get("rev"), len(revisions)))
    return spec | {"data": spec["data"] | {"values": values}}


def render(spec: Any, kind: Format, name: str) -> bytes:
    """A Vega-Lite specification as PNG at twice its size, or as SVG, without browser and network."""
    import vl_convert

    try:
        if kind == "svg":
            return str(vl_convert.vegalite_to_svg(spec)).encode()
        return bytes(vl_convert.vegalite_to_png(spec, scale=2))
    except ValueError as error:
        lines = (line.strip() for line in str(error).splitlines())
        cause = " ".join(line for line in lines if not line.startswith("at "))  # JavaScript's stack is left out
        raise UserError(f"plots: {name}: cannot be drawn ({cause}); mend its template in .dvc/plots") from None


def _spec(content: Any) -> Any:
    return json.loads(content) if isinstance(content, str) else content
