"""What was run: the record beside each fold's outputs (out/train/<fold>/run.json) and beside the joined folds' (oof-ensemble).

Whoever names a run's params takes them from here: params.yaml says what the next run will be. Whoever joins folds sees to it
here that they are folds of one training, and of the one that params.yaml asks for.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.base import files, paths
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.params.keys import flat, nested
from stages.params.loss_options import LOSSES
from stages.params.model_and_training import PLUGIN_KINDS
from stages.params.schema import Params
from stages.records import plugin_files

# Keys of params.yaml that shape a training, as dvc.yaml's train stage names them (besides losses.<loss>), and those of the
# stages that it rests on: the folds, and the file of pseudo-labels, which dvc.yaml names as a dependency.
TRAINING = (
    *("seed", "axes", "train_bins", "image", "model", "targets", "loss", "regression", "sampler"),
    *("label_noise", "optimizer", "schedule", "train", "budget", "augment"),
    *("folds", "pseudo.labels"),
)
# What these were called before there were tasks: records of then are still read.
BEFORE_TASKS = {
    "data.age_bins": "axes.age.bins",
    "data.train_age_bins": "train_bins.age",
    "age_regression.weight": "regression.weight",
}
# Groups whose keys a person names, so that the defaults do not know them.
NAMED_BY_PEOPLE = ("model.options.", "axes.", "train_bins.")
# What oof-ensemble itself reads besides, in its own record.
OF_JOINING = ("ensemble.replicates",)
# A time limit makes no other method of a training: the folds that it shortened say so themselves.
NOT_COMPARED = "budget."
CONTENTS = {
    "task": f"another {paths.TASK}",
    "photos": f"another {paths.PHOTOS}",
    "folds": f"another {paths.FOLDS}",
    "pseudo_labels": "other content of pseudo.labels",
    "eval": f"another {paths.EVAL}",
    "weights": "other content of model.weights",
    "models": "other code in plugins.models",
    "losses": "other code in plugins.losses",
}
SHOWN = 4  # differences that a line names

Differences = dict[str, tuple[Any, Any]]


class Record(BaseModel):
    """What a training, or a run of joined folds, was made of. The same run has the same record, whatever its fold.

    run: the run key, a hash of all the rest but the time limit; empty for results of before there were records.
    params: groups of params.yaml as they were then. lr: the peak learning rate. data: digests of what was learnt from.
    setting: what else computes (versions, code, threads): it moves last digits, and is told where it differs, not refused.
    """

    model_config = ConfigDict(frozen=True)

    run: str = ""
    params: dict[str, Any] = {}
    lr: float | None = None
    data: dict[str, str] = {}
    setting: dict[str, Any] = {}

    @property
    def loss(self) -> str:
        return str(self.params.get("loss", "ce"))


def made(params: Params, lr: float, setting: dict[str, Any]) -> Record:
    """The record of a training that begins now, from the files as they are."""
    record = Record(params=training(params), lr=lr, data=contents(params), setting=setting)
    keyed = {key: value for key, value in flat(record.params).items() if not key.startswith(NOT_COMPARED)}
    whole = json.dumps([keyed, record.lr, record.data, record.setting], sort_keys=True)
    return record.model_copy(update={"run": hashlib.blake2b(whole.encode()).hexdigest()[:16]})


def training(params: Params) -> dict[str, Any]:
    """The groups of params.yaml that shape a training; label_noise only where it is on, and plugins where they are used, so
    that without them a run is the same as before there were such groups, whatever else stands in them.
    """
    everything = params.model_dump(mode="json")
    if params.label_noise.is_off:
        del everything["label_noise"]
    return pick(everything, (*TRAINING, f"losses.{params.loss}", *plugin_keys(everything)))


def plugin_keys(everything: Mapping[str, Any]) -> list[str]:
    """Keys of the plugins that shape a training, of all params. Losses of one's own do nothing where another loss is chosen;
    whether a model is of one's own only timm knows, so their file counts wherever it is named.
    """
    told = mapping(everything.get("plugins"))
    used = {"models": True, "losses": everything.get("loss", LOSSES[0]) not in LOSSES}
    none = paths.NO_PLUGINS.as_posix()
    named = [kind for kind in PLUGIN_KINDS if used[kind] and told.get(kind, none) != none]
    return [f"plugins.{kind}" for kind in named]


def pick(everything: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Those dotted keys of nested groups that are there, nested."""
    found: dict[str, Any] = {}
    for key in keys:
        value: Any = everything
        for part in key.split("."):
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if value is not ...:
            found[key] = value
    return nested(found)


def contents(params: Params) -> dict[str, str]:
    """Digests of the files that a training learns from; those that are not there are left out."""
    found = {"task": paths.TASK, "photos": paths.PHOTOS, "folds": paths.FOLDS}
    if not params.pseudo.is_off:
        found |= {"pseudo_labels": Path(params.pseudo.labels), "eval": paths.EVAL}
    if not params.model.begins_without_file:
        found["weights"] = Path(params.model.weights)
    everything = params.model_dump(mode="json")
    used = flat(pick(everything, plugin_keys(everything)))
    several = {name: [path] for name, path in found.items()}
    several |= {key.partition(".")[2]: plugin_files.listed(Path(path)) for key, path in used.items()}
    return {name: digest(*some) for name, some in several.items() if some and all(path.is_file() for path in some)}


def digest(*several: Path) -> str:
    """16 hexadecimal digits of the content of files."""
    whole = hashlib.blake2b()
    for path in several:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "blake2b").digest())
    return whole.hexdigest()[:16]


def write(path: Path, record: Record) -> None:
    files.write_json(path, record.model_dump())


def of_fold(fold: int, outputs: bool = True) -> Record:
    """The record of a fold. Raises UserError where it is missing or damaged, or the fold's weights and logits (which a fold
    in training does not have yet: `outputs`) are of another run.
    """
    path = paths.train_run(fold)
    if not path.is_file():
        files.require(paths.oof_logits(fold), f"train --fold {fold}")
    record = parsed(files.read_json(path, f"train --fold {fold}"), path, f"train --fold {fold}")
    weights = sorted(paths.models(fold).glob("[0-9]*.safetensors"))
    for output in [paths.oof_logits(fold), *weights] if outputs else []:
        mark = mark_of(output)
        if mark is not None and mark != record.run:
            raise UserError(
                f"{output}: is of another run than {path}: this fold is in training, or was cut off in it; run "
                f"`maskcli train --fold {fold}` (or `dvc repro`)"
            )
    return record


def mark_of(path: Path) -> str | None:
    """The run key that an output carries in itself; None where it cannot be read, which its reader tells better."""
    try:
        if path.suffix == ".json":
            return str(json.loads(path.read_bytes())["run"])
        if path.suffix == ".npz":
            return str(files.load_npz(path, ["run"])["run"])
        return str(trained_in(path)["run"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None


def trained_in(path: Path) -> dict[str, Any]:
    """What weights written here say of the training that made them: run, the digest of photos.csv, and what they have learnt from
    (stages/records/learnt_photos.py); else empty.

    Raises OSError or ValueError where they are not there or not whole.
    """
    return mapping(described_in(path).get("trained"))


def described_in(path: Path) -> dict[str, Any]:
    """What weights written here say of their model (stages/learn/model.py) and its training; of others' empty, or ValueError.

    Raises OSError or ValueError where they are not there or not whole.
    """
    with path.open("rb") as file:
        return described(file)


def described(file: BinaryIO) -> dict[str, Any]:
    """The same of an open file. Raises OSError or ValueError."""
    head = file.read(9)  # the length of the header, in 8 bytes, and the first of the header, JSON
    if head[8:] != b"{":
        raise ValueError("no .safetensors file")
    header = json.loads(head[8:] + file.read(min(int.from_bytes(head[:8], "little"), 100_000_000) - 1))
    return mapping(json.loads(mapping(mapping(header).get("__metadata__")).get("architecture", "{}")))


def joined(
    params: Params, talk: Talk, who: str, folds: Sequence[int] | None = None, told: tuple[str, ...] = ()
) -> Record:
    """The common record of `folds` (None: all of params.yaml), which are of one training, the one that params.yaml asks for.

    Raises UserError, in one line, where a fold was trained with other params, another learning rate or other data than the
    others, or all with others than params.yaml and the files now. Other code, libraries and threads are told, and so is what
    params.yaml says otherwise in the groups `told`.
    """
    records = {fold: of_fold(fold) for fold in (params.folds if folds is None else folds)}
    alike, reference = of_one_training(params, records)
    odd = [fold for fold in records if fold not in alike]
    if odd:
        first = [fold for fold in odd if not differing(records[fold], records[odd[0]])]
        raise UserError(
            f"{paths.TRAIN}: {named(first)} trained with {in_words(differing(records[odd[0]], reference), 'the others')}, so "
            f"{who} would mix methods; run {_again(odd)} (or `dvc repro`)"
        )
    found = not_asked(params, reference)
    refused = {key: pair for key, pair in found.items() if not key.startswith(told or ("...",))}
    if refused:
        raise UserError(
            f"{paths.TRAIN}: the folds were trained with {in_words(refused, 'now')}, so {who} would call one method by the "
            "name of another; run `dvc repro`, or put back what was trained"
        )
    if found:
        talk.say(f"warning: {who}: the folds were trained with {in_words(found, 'now')}")
    for line in settings_in_words({f"fold {fold}": record for fold, record in records.items()}):
        talk.say(f"warning: {who}: {line}")
    return common(list(records.values()))


def of_one_training(params: Params, records: dict[int, Record]) -> tuple[list[int], Record]:
    """The folds that were trained as params.yaml asks, or where none was, those of the training of most folds; its record."""
    now = _now(params)
    fitting = [record for record in records.values() if not differing(record, now)]
    reference = _most_common(fitting or list(records.values()))
    return [fold for fold, record in records.items() if not differing(record, reference)], reference


def not_asked(params: Params, record: Record) -> Differences:
    """What of a record params.yaml and the files now say otherwise."""
    now = _now(params)
    if "ensemble" in record.params:  # of joined folds
        now = now.model_copy(update={"params": now.params | pick(params.model_dump(mode="json"), OF_JOINING)})
    return differing(record, now)


def as_run(params: Params, record: Record) -> Params:
    """The params with what was run in the place of what params.yaml says by now."""
    everything = (
        flat(params.model_dump(mode="json"))
        | {"label_noise.action": "none"}
        | {"plugins.models": paths.NO_PLUGINS.as_posix()}
        | _as_called_now(flat(record.params))
    )
    try:
        return Params.model_validate(nested(everything))
    except ValidationError:  # of another version
        return params


def _now(params: Params) -> Record:
    """What a training would be that began now; its learning rate only where params.yaml has a number."""
    lr = None if params.lr == "auto" else float(params.lr)
    return Record(params=training(params), lr=lr, data=contents(params))


def common(records: Sequence[Record]) -> Record:
    """One record of folds of one training; its run is theirs, or a hash of them where their settings differ."""
    return records[0].model_copy(update={"run": joint({record.run for record in records})})


def joint(runs: set[str]) -> str:
    """The run key of folds with these."""
    first, *others = sorted(runs)
    return first if not others else hashlib.blake2b(" ".join(sorted(runs)).encode()).hexdigest()[:16]


def differing(before: Record, after: Record) -> Differences:
    """What of params, learning rate and data differs: name to both values; `...` where one record does not know it.

    Keys of which one side has not heard, because it is of another version, count with their default. Data and learning
    rate are compared where both sides know them.
    """
    default = flat(Params().model_dump(mode="json"))
    a, b = (_as_called_now(flat(record.params)) for record in (before, after))
    own = "..." if before.loss in LOSSES else f"losses.{before.loss}."
    found: Differences = {}
    for key in dict.fromkeys([*a, *b]):
        known = key in default or key.startswith((*NAMED_BY_PEOPLE, own))
        if not known or key.startswith(NOT_COMPARED) or (key.startswith("losses.") and before.loss != after.loss):
            continue
        pair = a.get(key, default.get(key, ...)), b.get(key, default.get(key, ...))
        if pair[0] != pair[1] and key != "model.options":  # what stands in it is compared
            found[key] = pair
    if before.lr is not None and after.lr is not None and before.lr != after.lr:
        found["lr"] = before.lr, after.lr
    for name in CONTENTS:
        x, y = before.data.get(name), after.data.get(name)
        if x and y and x != y:
            found[name] = x, y
    return found


def _as_called_now(params: dict[str, Any]) -> dict[str, Any]:
    """Flat params with the keys of before there were tasks under their names of today."""
    renamed = {BEFORE_TASKS.get(key, key): value for key, value in params.items()}
    return {key: value for key, value in renamed.items() if key != "train_bins.age" or value is not None}


def in_words(found: Differences, other: str) -> str:
    """The first values of `differing` and, under the name of `other`, the second, as `loss: ce (now: focal)`."""
    parts = [
        CONTENTS[key] if key in CONTENTS else f"{key}: {value_in_words(pair[0])} ({other}: {value_in_words(pair[1])})"
        for key, pair in found.items()
    ]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


def value_in_words(value: Any) -> str:
    if value is ...:
        return "not set"
    if isinstance(value, float):
        value = float(f"{value:.6g}")  # a learning rate that lr-find suggests has 17 digits
    return value if isinstance(value, str) else json.dumps(value)


def settings_in_words(records: dict[str, Record], but: tuple[str, ...] = ()) -> list[str]:
    """One line for each setting, `but` those, that is not the same in all records, by name; nothing for records without."""
    known = {name: _known(record.setting) for name, record in records.items() if record.setting}
    lines = []
    for key in dict.fromkeys(key for values in known.values() for key in values):
        by_value: dict[str, list[str]] = {}
        for name, values in known.items():
            if key in values:  # not kept by an earlier version
                by_value.setdefault(value_in_words(values[key]), []).append(name)
        if len(by_value) > 1 and key not in but:
            listed = "; ".join(f"{', '.join(names)}: {value}" for value, names in by_value.items())
            lines.append(f"computed with another {key.replace('_', ' ')} ({listed}): last digits may differ by it")
    return lines


def other_settings(before: Record, after: Record, but: tuple[str, ...] = ()) -> list[str]:
    """Names of the settings, `but` those, that two records know and have otherwise, as `torch` and `timm`."""
    old, new = (_known(record.setting) for record in (before, after))
    differ = [key for key in old if key in new and old[key] != new[key]]
    names = (key.removeprefix("libraries.").partition(".")[0].replace("_", " ") for key in differ if key not in but)
    return list(dict.fromkeys(names))


def _known(setting: dict[str, Any]) -> dict[str, Any]:
    """A setting by key, with what its threads tell: 0 is a GPU's, and a CPU's stand by fold, so that no key is in both."""
    device = {"device": "CPU" if setting["threads"] else "GPU"} if "threads" in setting else {}
    return flat(setting) | device


def named(folds: Sequence[int]) -> str:
    """`fold 0 was`, `folds 1 and 2 were`."""
    if len(folds) == 1:
        return f"fold {folds[0]} was"
    return f"folds {', '.join(map(str, folds[:-1]))} and {folds[-1]} were"


def _again(folds: Sequence[int]) -> str:
    if len(folds) == 1:
        return f"`maskcli train --fold {folds[0]}`"
    return f"`maskcli folds {' '.join(f'--only {fold}' for fold in folds)}`"


def _most_common(records: list[Record]) -> Record:
    """The record that most others agree with, the first of equals."""
    return max(records, key=lambda one: sum(not differing(one, other) for other in records))


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is one, else an empty one: what other versions wrote is read with care."""
    return value if isinstance(value, dict) else {}


def parsed(value: Any, path: Path, made_by: str, revision: str = "") -> Record:
    """A record from what a file holds. Raises UserError where it is none."""
    try:
        return Record.model_validate(value)
    except ValidationError:
        where = f"{revision}: {path}" if revision else str(path)
        raise UserError(
            f"{where}: is not what {made_by} writes; run `maskcli {made_by}` (or `dvc repro`) again"
        ) from None
