"""The files of docs/plugins.md, and what is wrong with others, by the name that docs/bad_input.md gives it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from stages.base import paths
from stages.base.files import write_json
from stages.params.schema import Params
from tests.conftest import ROOT, SMALL, small

BLOCK = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE: dict[str, str] = dict(BLOCK.findall((ROOT / "docs/plugins.md").read_text(encoding="utf-8")))
CHOSEN: dict[str, Any] = yaml.safe_load(PAGE["params.yaml"])
NETS, MINE = PAGE["nets.py"], PAGE["mine.py"]


def place(**changes: Any) -> Params:
    """In a project: the page's files and params.yaml, with groups updated and other keys replaced."""
    Path("nets.py").write_text(NETS)
    Path("mine.py").write_text(MINE)
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml"})
    told = dict(CHOSEN)
    for key, change in changes.items():
        told[key] = told.get(key, {}) | change if isinstance(change, dict) and key != "losses" else change
    params = small(**told)
    paths.PARAMS.write_text(yaml.safe_dump({**SMALL, **told}))
    return params


def wrong(name: str, old: str, new: str, **changes: Any) -> Callable[[], object]:
    """One of the page's files with another text in it."""
    text = {"nets.py": NETS, "mine.py": MINE}[name]
    assert old in text

    def write() -> None:
        place(**changes)
        Path(name).write_text(text.replace(old, new))

    return write


def named(**changes: Any) -> Callable[[], object]:
    """Other params beside the page's files, of which nobody has checked that they fit."""

    def write() -> None:
        place()
        Path("notes.txt").write_text("")
        Path("empty").mkdir()
        Path("../elsewhere.py").write_text(NETS)
        paths.PARAMS.write_text(yaml.safe_dump({**SMALL, **CHOSEN, **changes}))

    return write


def loss(body: str) -> Callable[[], object]:
    """The page's loss with another last line of what it computes."""
    last = "return ((weights / weights.mean()).to(logits)[targets] * miss**power).mean()"
    return wrong("mine.py", last, body)


RETURNED = "    return loss\n"
ARGUMENTS = "pretrained: bool = False, num_classes: int = 1000, width: int = 16, **kwargs: object"
A_LOSS = """from stages.learn.losses import register_loss
@register_loss
def other(counts):
    return None
"""
REFUSED: dict[str, Callable[[], object]] = {
    "plugins: no such file": named(plugins={"models": "gone.py", "losses": "mine.py"}),
    "plugins: a file outside the project": named(plugins={"models": "../elsewhere.py", "losses": "mine.py"}),
    "plugins: a file that is no Python": named(plugins={"models": "notes.txt", "losses": "mine.py"}),
    "plugins: a folder without files": named(plugins={"models": "empty", "losses": "mine.py"}),
    "plugins: a syntax error": wrong("mine.py", "return loss", "return = loss"),
    "plugins: an exception at import": wrong("nets.py", "@register_model", "WIDTH = 1 / 0\n@register_model"),
    "plugins: an import of what is not there": wrong("nets.py", "from torch", "import helpers\nfrom torch"),
    "plugins: a file that ends the program": wrong(
        "nets.py", "@register_model", "raise SystemExit(3)\n@register_model"
    ),
    "plugins: a model of timm's name": wrong("nets.py", "def tiny(", "def resnet18("),
    "plugins: a loss of a name that is taken": wrong("mine.py", "def squared(", "def focal("),
    "plugins: a file without a model": wrong("nets.py", "@register_model", ""),
    "plugins: a file without a loss": wrong("mine.py", "@register_loss", ""),
    "plugins: a loss in the file of models": wrong("nets.py", "@register_model", f"{A_LOSS}@register_model"),
    "plugins: a model without forward_features": wrong("nets.py", "forward_features", "features"),
    "plugins: a model without reset_classifier": wrong("nets.py", "reset_classifier", "reset"),
    "plugins: a model without num_classes": wrong("nets.py", "self.num_classes = num_classes\n", "pass\n"),
    "plugins: a model that gives classes whatever is asked": wrong(
        "nets.py", "Tiny(num_classes, width)", "Tiny(10, width)"
    ),
    "plugins: a model that gives a map": wrong("nets.py", "return self.forward_head(", "return ("),
    "plugins: a model that takes no arguments": wrong("nets.py", ARGUMENTS, "num_classes: int = 0, width: int = 16"),
    "plugins: a model that fails": wrong("nets.py", "return self.body(photos)", "raise KeyError('body')"),
    "plugins: an unknown option of a loss": named(losses={"squared": {"powr": 2}}),
    "plugins: an option of another type": named(losses={"squared": {"balanced": 3}}),
    "plugins: a loss without an entry": named(losses={}),
    "plugins: an entry of no loss": named(losses={"squared": {}, "fokal": {}}),
    "plugins: a loss that is in no file": named(loss="squard", losses={"squared": {}, "squard": {}}),
    "plugins: an option without a default": wrong("mine.py", "power: float = 2.0", "power: float"),
    "plugins: a loss that is not a number": loss("return (logits.sum() * float('nan'))"),
    "plugins: a loss a photo": loss("return miss**power"),
    "plugins: a loss that is no tensor": loss("return 1.0"),
    "plugins: a loss without a gradient": loss("return miss.detach().mean()"),
    "plugins: a gradient that is not finite": loss("return (miss * 0).sqrt().mean()"),
    "plugins: a loss that fails": loss("raise KeyError('miss')"),
    "plugins: no loss returned": wrong("mine.py", RETURNED, ""),
}
