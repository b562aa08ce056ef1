"""What the pages say can be typed: every command of README.md and docs/*.md is known, parses, and (slowly) runs in order.

A block is indented by four spaces or fenced; one whose fence names a file is that file (tests/test_data_page.py). Its
commands are the lines after `$ `, or without these all lines that begin with one of PROGRAMS; what else stands in a block
must be listed in SHOWN. A page's blocks run in a scratch project on the small data set; what does not run as it stands is
in INSTEAD, with the reason.
"""

import contextlib
import re
import shlex
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.main import app
from tests import histories
from tests.conftest import ROOT, command, lay_out

PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")))
PROGRAMS = {
    *(
        "maskcli",
        "dvc",
        "git",
        "make",
        "cp",
        "rm",
        "mkdir",
        "cd",
        "python",
        "pip",
        "torchrun",
        "tensorboard",
        "accelerate",
    ),
    *("curl", "docker", "podman", "sbatch", "srun", "apptainer", "export", "uv", "nox", "tox", "ray"),
}
# First words of blocks that hold no command: pictures and files.
SHOWN = {
    "data ──> prepare": "the stages, drawn",
    "dvc.yaml  params.yaml": "the rooms of the code",
    "OOF macro F1": "the end of make demo",
    "regret of lr: auto": "what bench/regret.py prints",
}
# What is typed in the scratch project instead, and why. An empty text: nothing is.
INSTEAD: dict[str, tuple[str, str]] = {
    "make demo": ("dvc repro -q; maskcli report; maskcli summary", "it installs an environment, then runs these"),
    "make test": ("", "it would run this test in this test"),
    "pip install .": ("", "it is installed, and the scratch project is no copy of the repository"),
    "maskcli init photos --into project": (
        "mkdir -p ../photos/mask ../photos/none; cd data/train/images; for person in *; do "
        "cp $person/mask1.* ../../../../photos/mask/$person.jpg; cp $person/normal.* ../../../../photos/none/$person.jpg; done; "
        "cd ../../../..; maskcli init photos --into own --yes",
        "the photos are the reader's own",
    ),
    "cd project && maskcli check": ("cd ../own && maskcli check", "each line is typed in the scratch project"),
    "dvc repro && maskcli report": (
        "cd ../own && dvc repro && maskcli report",
        "each line is typed in the scratch project",
    ),
    "python -c \"import timm; net = timm.create_model('local-dir:out/bundle/fold0', pretrained=True); print(net.num_classes)\"": (
        'python -c "from stages.learn.timm_import import load_timm; '
        "load_timm().create_model('local-dir:out/bundle/fold0', pretrained=True)\"",
        "beside a torchvision of another build timm alone cannot be imported (stages/learn/timm_import.py)",
    ),
    "maskcli serve out/bundle.zip": (
        "maskcli serve out/bundle.zip --port 0 --json > served & while [ ! -s served ]; do sleep 0.2; kill -0 $!; done; kill $!; "
        "wait $!; rm served",
        "it serves until it is ended",
    ),
    "maskcli review": (
        "maskcli review --port 0 --json > begun & while [ ! -s begun ]; do sleep 0.2; kill -0 $!; done; kill $!; "
        "wait $!; rm begun",
        "its page is there until it is ended",
    ),
    "curl -F photo=@face.jpg http://127.0.0.1:8000/predict": ("", "the service has been ended"),
    "curl --data-binary @face.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/predict?probabilities=1": (
        "",
        "the service has been ended",
    ),
    "pip install 'maskcli[cluster]'": ("", "it is installed"),
    "ray start --head --port=6379 --disable-usage-stats": ("", "it starts a cluster that outlives this test"),
    "ray start --address=10.0.0.1:6379 --disable-usage-stats": ("", "there is no other machine"),
    "maskcli cluster run --address 10.0.0.1:6379": (
        "maskcli cluster run",
        "there is no cluster; tests/by_hand/test_cluster.py",
    ),
    "maskcli cluster run --address auto -S loss=ce,focal": (
        "maskcli cluster run -S loss=ce,focal",
        "there is no cluster; tests/by_hand/test_cluster.py",
    ),
    "maskcli cluster run --queued --until 18:00": (
        f"maskcli cluster run --queued --until {(datetime.now() + timedelta(hours=2)):%H:%M}",
        "18:00 may be past, or hours away",
    ),
    "make versions": ("", "it builds an environment for each Python, which needs the network"),
    "dvc exp run --queue -S loss=ce,label_smoothing && dvc queue start": (
        "dvc exp run --queue -S loss=ce,label_smoothing && dvc queue start && while dvc queue status | grep -Eq "
        "'Queued|Running'; do sleep 2; done",
        "the queue works in the background; the lines after it must not meet it in the middle",
    ),
    "cp presets/contest.yaml params.yaml": ("", "its model's weights come from the network, its photos are 224 px"),
    "cp presets/laptop.yaml params.yaml": ("", "its model's weights come from the network"),
    "maskcli screen --minutes 60": ("maskcli screen --try loss=focal --minutes 60", "15 changes take minutes"),
    "maskcli screen --try loss=focal,ldam --try loss=ldam,model.head=mlp": (
        "maskcli screen --try loss=ldam,model.head=mlp",
        "three changes at full length take long",
    ),
    "maskcli screen --try lr=1e-3,3e-3,loss=ce,focal --top 30": (
        "maskcli screen --try lr=1e-3,loss=focal --top 30 --minutes 1",
        "three changes at full length take long",
    ),
    "maskcli screen --try label_noise.action=drop,weight,smooth": (
        "maskcli screen --try label_noise.action=drop",
        "three changes at full length take long",
    ),
    "maskcli screen --from candidates.yaml --json": ("", "the file is the reader's own"),
    "maskcli screen --frozen --backbone mobilenetv2_100.safetensors --json": (
        "",
        "the file of weights is the reader's own",
    ),
    "maskcli screen --frozen": (
        "maskcli screen --frozen --losses ce,focal --epochs 3 --repeats 1",
        "50 combinations take minutes",
    ),
    "maskcli screen --frozen --heads linear,mlp --top 30": (
        "maskcli screen --frozen --losses ce --heads linear,mlp --top 30 --epochs 3 --repeats 1",
        "100 combinations take minutes",
    ),
    "maskcli screen --frozen --losses ce,focal,ldam --samplers none,sqrt": (
        "maskcli screen --frozen --losses ce,focal,ldam --samplers none,sqrt --epochs 3 --repeats 1",
        "20 epochs of 3 repeats take long",
    ),
    "maskcli folds --until 18:00": (
        f"maskcli folds --until {(datetime.now() + timedelta(hours=2)):%H:%M}",
        "18:00 may be past, or hours away",
    ),
    "maskcli claim --queued --most 1 && dvc queue start": (
        "maskcli claim --queued --most 1 && dvc queue start && while dvc queue status | grep -Eq 'Queued|Running'; do "
        "sleep 2; done",
        "the queue works in the background; the lines after it must not meet it in the middle",
    ),
    "dvc remote add -d team s3://bucket/folder": (
        "dvc remote add -d team /path/to/shared/folder",
        "tests/test_team.py has an S3",
    ),
    "dvc remote modify team endpointurl https://s3.example.org": ("", "a folder has none"),
    "dvc remote add --local -d team s3://bucket/folder": (
        "dvc remote add --local -d team /path/to/shared/folder; git push -q origin HEAD",
        "tests/test_team.py has an S3; whoever has read README has pushed",
    ),
    "dvc remote modify --local team endpointurl https://s3.example.org": ("", "a folder has none"),
    "git push origin HEAD && dvc push --all-commits": (
        "git push -q origin HEAD && dvc push -q --all-commits",
        "quietly: its progress is long",
    ),
}
# What must be there before a page's first line: the page says so, or begins where another ended.
BEFORE = {
    "docs/bundles.md": "dvc repro -q",
    "docs/cluster.md": "git add -A; git commit -qm start",
    "docs/corrections.md": "dvc repro -q",
    "docs/ensembling.md": "dvc repro -q; git add -A; git commit -qm ce",
    "docs/label_noise.md": "dvc repro -q; git add -A; git commit -qm ce",
    "docs/last_night.md": "git add -A; git commit -qm start",
    "docs/plugins.md": "dvc repro -q; git add -A; git commit -qm ce",
    "docs/review.md": "dvc repro -q",
    "docs/screening.md": "dvc repro -q",
    "docs/statistics.md": "dvc repro -q; git add -A; git commit -qm ce; dvc exp run -q -n focal -S loss=focal; "
    "dvc exp run -q -n mixed -S targets=factored -S loss=balanced_softmax; dvc exp run -q -n seed -S seed=1",
    "docs/team.md": "dvc repro -q; git add -A; git commit -qm ce",
    "docs/refit_and_pseudo_labels.md": "git add -A; git commit -qm start",
}
# Blocks that another person types, in a clone made where the block stands.
IN_A_CLONE = ("git pull && dvc pull",)


@dataclass(frozen=True)
class Block:
    page: str
    line: int  # of its first line
    lines: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        """Its commands, without comments and output."""
        prompted = [line.removeprefix("$ ") for line in self.lines if line.startswith("$ ")]
        typed = prompted or [line for line in self.lines if line.split(" ")[0] in PROGRAMS]
        return [without_comment(line) for line in typed]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def without_comment(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line).strip()


def blocks(page: str) -> list[Block]:
    """The indented and fenced blocks of a page, in order."""
    found: list[Block] = []
    lines: list[str] = []
    first, fenced, made, file = 0, False, False, False
    for number, line in enumerate([*(ROOT / page).read_text(encoding="utf-8").splitlines(), ""], 1):
        fence = line.startswith("```")
        if fence and not fenced:
            file = " " in line
        if line.startswith("<!-- "):
            made = line.startswith("<!-- figures:")  # a command and its output, in which blank lines end nothing
        if not fence and ((fenced and not file) or (not fenced and line.startswith("    "))):
            first = first or number
            lines.append(line.removeprefix("    ") if not fenced else line)
        elif (lines and (fence or line.strip())) or (
            lines and number > first and not line.strip() and not fenced and not made
        ):
            found.append(Block(page, first, tuple(one.rstrip() for one in lines if one.strip())))
            lines, first = [], 0
        fenced = fenced != fence
    return found


ALL = [block for page in PAGES for block in blocks(page)]


def is_shown(block: Block) -> bool:
    return " ".join(block.lines[0].split()).startswith(tuple(" ".join(start.split()) for start in SHOWN))


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.where)
def test_every_line_of_a_block_is_a_command_or_known_to_be_none(block: Block) -> None:
    if is_shown(block):
        return
    assert block.commands, f"{block.where}: begins with no program of PROGRAMS; add it there, or the block to SHOWN"
    if not any(line.startswith("$ ") for line in block.lines):
        first_output = len(block.commands)  # commands first, then what they print
        for line in block.lines[:first_output]:
            assert line.split(" ")[0] in PROGRAMS, f"{block.where}: `{line}` stands among commands"


@pytest.mark.parametrize("text", sorted({one for block in ALL for one in block.commands if not is_shown(block)}))
def test_every_command_of_a_block_parses(text: str) -> None:
    for words in simple_commands(text):
        check(words)


def inline() -> dict[str, str]:
    """Commands in backticks, and where they stand."""
    found = {}
    for page in PAGES:
        if page != "docs/bad_input.md":  # what the program says, held by tests/test_bad_input.py
            for text in re.findall(
                r"`((?:maskcli|dvc) [^`]+)`", (ROOT / page).read_text(encoding="utf-8").replace("\n", " ")
            ):
                found[text] = page
    return found


@pytest.mark.parametrize("text", sorted(inline()))
def test_every_command_in_backticks_has_options_that_exist(text: str) -> None:
    for words in simple_commands(text.replace("...", "").replace("[", "").replace("]", "")):
        if words[0] == "maskcli":
            name, rest, one = named(words)
            assert one or name.startswith("-"), f"{inline()[text]}: no command {name}"
            options = {option for part in one.params for option in part.opts} if one else {"--debug", "--version"}
            for word in rest:
                if word.startswith("-"):
                    assert word.split("=")[0] in {*options, "--help"}, f"{inline()[text]}: {name} has no {word}"


def group() -> Any:
    """The program's commands, as click has them (which click that is, is typer's affair)."""
    return typer.main.get_command(app)


def named(words: list[str]) -> tuple[str, list[str], Any]:
    """The command of maskcli that words ask for, also one of a group (`cluster run`): name, other words, and itself or None."""
    one, rest = group(), words[1:]
    while rest and hasattr(one, "commands") and rest[0] in one.commands:
        one, rest = one.commands[rest[0]], rest[1:]
    if len(rest) == len(words) - 1:
        return words[1], words[2:], None
    return " ".join(words[1 : len(words) - len(rest)]), rest, one


def simple_commands(text: str) -> list[list[str]]:
    """The commands of a shell line that are joined by ; && || and |, word by word, without variables set before them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        elif found[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            found[-1].append(word)
    return [words for words in found if words]


def check(words: list[str]) -> None:
    """Raise where maskcli or DVC would refuse these words."""
    if words[0] == "maskcli":
        name, rest, one = named(words)
        assert one, f"maskcli has no command {name}"
        one.make_context(name, rest)
    elif words[0] == "dvc":
        from dvc.cli.parser import get_main_parser

        with contextlib.suppress(ImportError):
            get_main_parser().parse_args(words[1:])
    else:
        assert words[0] in PROGRAMS, words[0]


def test_an_unknown_command_option_or_program_is_seen() -> None:
    for text in ("maskcli compaer HEAD", "maskcli compare HEAD --rulez last", "dvc exp run --nope", "frobnicate"):
        with pytest.raises((Exception, SystemExit)):  # click's and DVC's own refusals
            check(simple_commands(text)[0])
    assert Block("x.md", 1, ("frobnicate all",)).commands == []
    assert Block("x.md", 1, ("$ dvc repro  # all", "done")).commands == ["dvc repro"]
    assert simple_commands("A=1 dvc push && git push; ls | wc -l") == [
        ["dvc", "push"],
        ["git", "push"],
        ["ls"],
        ["wc", "-l"],
    ]


def test_what_is_typed_instead_still_stands_somewhere() -> None:
    typed = {one for block in ALL for one in block.commands}
    away = [text for text in INSTEAD if text not in typed and text != "make versions"]
    assert not away, f"take these out of INSTEAD: {away}"
    for text, reason in SHOWN.items():
        assert any(is_shown(block) for block in ALL if block.lines[0].startswith(text.split("  ")[0])), (text, reason)


def test_git_add_takes_the_small_outputs_and_leaves_what_is_made_to_look_at(tmp_path: Path) -> None:
    """As `git add -A`, which README types: what DVC does not cache must be in git, or a checkout lacks it."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    listed = [out for stage in stages for out in (*stage.get("outs", []), *stage.get("metrics", []))]
    small = [path.replace("${item.fold}", "0") for out in listed if isinstance(out, dict) for path in out]
    assert len(small) > 15
    # Pixel caches are large, and made again in seconds.
    expected = {path for path in small if "pixels" not in path}
    pictures = {"dvc_plots/index.html", "out/plots/loss.png", "out/report/report.html", "out/compare/forest.png"}
    shutil.copy(ROOT / ".gitignore", tmp_path / ".gitignore")
    for path in (*small, *pictures):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    histories.git(tmp_path, "init", "-q")
    histories.git(tmp_path, "add", "-A")
    assert set(histories.git(tmp_path, "ls-files").split()) == {*expected, ".gitignore"}


@pytest.mark.slow  # minutes: everything is trained
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.commands for block in blocks(page))])
def test_a_page_can_be_typed_from_top_to_bottom(page: str, tmp_path: Path, prepared: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    # Two epochs on 24 people are sure of nothing.
    lay_out(folder, prepared, refit={"seeds": 1, "epochs": 1}, pseudo={"confidence": 0.0})
    shutil.copytree(ROOT / "presets", folder / "presets")
    shutil.copytree(prepared / "data", tmp_path / "contest")
    histories.git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin")
    command(folder, "git", "remote", "add", "origin", str(tmp_path / "origin"))
    places = {"/path/to/contest": str(tmp_path / "contest"), "/path/to/shared/folder": str(tmp_path / "shared")}
    if page in BEFORE:
        command(folder, "bash", "-ec", BEFORE[page])
    for block in blocks(page):
        if is_shown(block):
            continue
        where = folder
        if block.commands[0] in IN_A_CLONE:
            where = tmp_path / "clone"
            command(tmp_path, "git", "clone", "-q", "-b", branch(folder), str(tmp_path / "origin"), str(where))
            named_as(where, "colleague")
        for text in block.commands:
            typed, _ = INSTEAD.get(text, (text, ""))
            for old, new in places.items():
                typed = typed.replace(old, new)
            if not typed:
                continue
            print(f"{block.where}: {typed}", flush=True)
            command(where, "bash", "-ec", typed)
    # Nothing that a page makes waits for the next `git add -A` but results.
    left = command(folder, "git", "status", "--porcelain", "--untracked-files=all").stdout.split()[1::2]
    assert not [path for path in left if path.startswith("dvc_plots")]


def named_as(clone: Path, who: str) -> None:
    command(clone, "git", "config", "user.name", who)
    command(clone, "git", "config", "user.email", f"{who}@example.org")


def branch(folder: Path) -> str:
    return command(folder, "git", "branch", "--show-current").stdout.strip()
