"""dvc.yaml of a project that `maskcli init` makes, from the one that this program's own repository has.

They are the same stages and plots, but for three things. Where a stage of the repository depends on its files of code, one
of a project depends on requirements.txt, which names the version of maskcli: a project has no code of its own, and an
upgrade runs again what it may change. The data is where params.yaml says. What a task does not have is left out: without an
eval set tta-predict and the eval photos' cache. Numbers other than the contest's ages have files and plots of their own, and
of many classes the plots show those that matter.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from stages.base import paths

CODE = ("stages/", "cli/")
DATA = ("data/", "${data.")
AGES = f"{paths.eda_numbers('age').with_suffix('')}."
WIDTH = 124
OF_OTHERS = "`maskcli init`"  # in comments on projects that are not this repository
MOST_BARS = 30  # classes that a plot shows one by one
_LIST = re.compile(r"^    deps: \[(.*?)\]\n", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Has:
    """What a project has: where its data lies (as dependencies of DVC), an eval set, classes, and axes that are numbers.

    numbers: what eda counts by each, people, groups or photos. ages: whether they are the ages of the contest's people.
    """

    data: tuple[str, ...]
    eval_set: bool
    classes: int
    numbers: Mapping[str, str]
    ages: bool = False


def of_project(text: str, has: Has) -> str:
    """dvc.yaml of a project, from the text of this repository's."""
    head, stages, plots = _parts(text)
    stages = [stage for stage in stages if has.eval_set or not stage.startswith("  tta-predict:")]
    absent = [OF_OTHERS, *([] if has.eval_set else ["eval_pixels", "tta-predict"])]
    stages = [_with_numbers(_with_dependencies(_without_lines(stage, absent), has), has.numbers) for stage in stages]
    plots = _of_many(plots) if has.classes > MOST_BARS else plots
    if not has.ages:
        plots = [plot for plot in plots if AGES not in plot]
        plots += [_of_numbers(axis, units) for axis, units in has.numbers.items()]
    drawing = _without_lines(head, [] if has.eval_set else ["tta-predict"])
    return "".join([drawing, "stages:\n", *stages, "\n# DVC joins revisions by these titles.\nplots:\n", *plots])


def _of_many(plots: list[str]) -> list[str]:
    """Plots of the worst classes and the commonest mistakes, in place of those that show every class."""
    swaps = {
        "F1 per class (OOF)": "F1 of the worst classes (OOF)",
        "Confusion matrix (OOF, rows sum to 1)": "Commonest mistakes (OOF)",
        "template: per_class": "template: worst_classes",
        "template: confusion": "template: confused_pairs",
    }
    for old, new in swaps.items():
        plots = [plot.replace(old, new) for plot in plots]
    return plots


def _of_numbers(axis: str, units: str) -> str:
    return (
        f"  - {units.capitalize()} by {axis} (dashed lines, where bins begin):\n      template: numbers\n      x: {axis}\n"
        f"      y: {{{paths.eda_numbers(axis).as_posix()}: {units}}}\n"
    )


def dependencies(stage: str) -> list[str]:
    """What a stage, a block of dvc.yaml, depends on."""
    found = _LIST.search(stage)
    return [str(item) for item in yaml.safe_load(f"[{found[1]}]")] if found else []


def _parts(text: str) -> tuple[str, list[str], list[str]]:
    """The comment at the top, the stages and the plots, a block each."""
    head, rest = text.split("stages:\n", 1)
    stages, plots = rest.split("\nplots:\n", 1)
    stages = re.sub(r"\n+(#.*\n?)*\Z", "\n", stages + "\n")
    return (
        head,
        re.split(r"^(?=  [\w-]+:$)", stages, flags=re.MULTILINE)[1:],
        re.split(r"^(?=  - )", plots, flags=re.MULTILINE)[1:],
    )


def _with_dependencies(stage: str, has: Has) -> str:
    """The stage with the project's data and requirements.txt for the repository's data and code."""
    old = dependencies(stage)
    others = [item for item in old if not item.startswith((*CODE, *DATA))]
    data = has.data if any(item.startswith(DATA) for item in old) else ()
    return _LIST.sub(lambda _: _listed([*data, *others, str(paths.REQUIREMENTS)]), stage, count=1)


def _with_numbers(stage: str, axes: Iterable[str]) -> str:
    """The stage with the outputs on ages once for each axis that is a number."""
    lines = []
    for line in stage.splitlines(True):
        names = [f"{paths.eda_numbers(axis).with_suffix('')}." for axis in axes] if AGES in line else [AGES]
        lines += [line.replace(AGES, name) for name in names]
    return "".join(lines)


def _listed(items: Iterable[str]) -> str:
    words = ", ".join(f'"{item}"' if "${" in item else item for item in items)
    lines = textwrap.wrap(f"deps: [{words}]", WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{'    ' if number == 0 else '      '}{line}\n" for number, line in enumerate(lines))


def _without_lines(text: str, words: Iterable[str]) -> str:
    return "".join(line for line in text.splitlines(True) if not any(word in line for word in words))
