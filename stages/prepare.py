"""prepare: read and check every row and photo once, label them, and write the pixel caches.

Later stages trust what they find in out/prepare: no fault of the data set gets past this stage.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base import cores, paths
from stages.base.errors import UserError
from stages.base.files import replacing, write_csv
from stages.base.talk import Talk
from stages.data import duplicate_groups, photos, pixel_cache, task_and_classes, watched_by_dvc
from stages.data.csv_rows import Fault, shown
from stages.data.found_photos import Found
from stages.data.pixel_cache import Built
from stages.data.pixel_cache_record import Files
from stages.data.pseudo_labelled_photos import TwoCaches
from stages.data.task_and_classes import Task
from stages.params.schema import Params

SHOWN = 20
NAMES = 8  # that a warning lists


LISTED = f", all listed in {paths.FAULTS}"  # how many faults, and this


def run(params: Params, talk: Talk, listed: str = LISTED) -> None:
    """Write task.json, groups.csv, photos.csv, eval.csv, class_counts.csv, faults.csv, pixels.npy and eval_pixels.npy.

    All faults of the data set are collected, shown as a table and written to faults.csv. data.on_fault: skip leaves out
    the people (groups) they name. Raises UserError where there are others, or with data.on_fault: stop; then nothing but
    faults.csv is written, and what an earlier run wrote stays. listed: where people find all of several faults, as the
    error says it; `check` tries some photos in a folder that is removed.
    """
    found = photos.find(params)
    faults, eval_faults = found.faults, found.eval_faults
    skip = params.data.on_fault == "skip"
    table = _without(found.photos, faults) if skip else found.photos
    total = len(table) + len(found.eval)
    keep = pixel_cache.fits(total, params)
    began = time.perf_counter()
    with replacing(paths.PIXELS) as train_cache:
        table, bad, of_train = _decode_train(train_cache, table, params, keep, talk)
        faults += bad
        with replacing(paths.EVAL_PIXELS) as eval_cache:
            bad, of_eval = _decode_eval(eval_cache, found.eval["ImageID"].tolist(), params, keep, talk)
            eval_faults += bad
            decoding = time.perf_counter() - began
            _report(found.task, faults, eval_faults, skip, listed, talk)
            _check(found.task, table)
            caches = (train_cache, eval_cache) if keep or params.data.group_duplicates else None
            own, table, groups, told = _groups(found, table, of_train.contents + of_eval.contents, caches, params, talk)
            _write_tables(own, table.assign(content=of_train.contents), groups)
            write_csv(paths.EVAL, found.eval.assign(content=of_eval.contents))
    pixel_cache.record(paths.PIXELS, of_train, params)
    pixel_cache.record(paths.EVAL_PIXELS, of_eval, params)
    for warning in [
        *found.warnings,
        *told,
        *_rare(own, table),
        *watched_by_dvc.unwatched(params, _read(found, params)),
    ]:
        talk.say(f"warning: {warning}")
    if found.corrected:
        talk.say(f"prepare: {paths.CORRECTIONS}: {found.corrected}")
    whose = "" if own.unit == "photo" else f"{len(groups)} {own.units}, "
    talk.say(f"prepare: {whose}{len(table)} training photos, {len(found.eval)} eval photos")
    if not keep:
        talk.say(_on_the_fly(pixel_cache.space(total, params), params, total / decoding))


def _on_the_fly(space: int, params: Params, rate: float) -> str:
    """What it means that the pixel caches have not been written."""
    return (
        f"prepare: the pixel caches would take {space / 1e9:.3g} GB, more than data.cache_gb allows ({params.data.cache_gb:g}): "
        f"photos are decoded again whenever they are read, here about {rate:,.0f} photos/s on {cores.usable()} threads, in "
        "every epoch and view; to cache them, raise data.cache_gb or lower image.height and image.width"
    )


def _read(found: Found, params: Params) -> list[Path]:
    """The tables, and each folder that photos lie in."""
    tables = [Path(name) for name in (params.data.train, params.data.eval) if name]
    places = (
        (photos.folder(params), found.photos["file"]),
        (photos.eval_folder(params), found.eval["ImageID"]),
    )
    return tables + [
        base / below for base, names in places for below in sorted({name.rpartition("/")[0] for name in names})
    ]


def _check(own: Task, table: pd.DataFrame) -> None:
    """Raise UserError where what is left is nothing to learn from."""
    if table.empty:
        raise UserError(f"data: all {own.units} have faults, listed in {paths.FAULTS}; mend them")
    if own.classes < 2:
        raise UserError(f"data: all photos are of one class, {shown(own.class_names[0])}; at least two are needed")


def _groups(
    found: Found, table: pd.DataFrame, contents: list[str], caches: tuple[Path, Path] | None, params: Params, talk: Talk
) -> tuple[Task, pd.DataFrame, pd.DataFrame, list[str]]:
    """The task, photos and groups, of those groups that are left, joined where they have twins and that is asked for; and what
    is to be told. contents: of training and eval photos. caches: as they have just been written, None: too large to look at.
    """
    own, join = found.task, params.data.group_duplicates
    groups = found.groups[found.groups["group"].isin(set(table["group"]))]
    ids = found.eval["ImageID"].tolist()
    pixels = None
    if caches and (join or len(contents) <= duplicate_groups.MOST_LOOKED_AT):
        train = pixel_cache.just_built(caches[0], photos.files(params, table["file"].tolist()), params)
        of_eval = pixel_cache.just_built(caches[1], photos.eval_files(params, ids), params)
        pixels = TwoCaches(train, of_eval, np.arange(len(ids)))
    pairs = duplicate_groups.find(table["group"], contents, pixels, talk)
    if not join:
        return own, table, groups, duplicate_groups.told(pairs, table, own.labels(table), ids, own.units)
    own, table, groups, line = duplicate_groups.join(pairs, own, table, groups)
    left = replace(pairs, pairs=pairs.pairs[pairs.pairs["b"] >= pairs.training])
    told = [line] if line else []
    return own, table, groups, told + duplicate_groups.told(left, table, own.labels(table), ids, own.units)


def _write_tables(own: Task, table: pd.DataFrame, groups: pd.DataFrame) -> None:
    labels = own.labels(table)
    task_and_classes.write(own)
    photos.write(own, table.assign(label=labels), groups)


def _rare(own: Task, table: pd.DataFrame) -> list[str]:
    """Warnings of classes with one photo, and of those without, where each is a name of its own."""
    if own.layout == "contest":  # `maskcli check` tells of it
        return []
    labels = own.labels(table)
    counts = np.bincount(labels, minlength=own.classes)
    means = {1: "one that is scored has not been learnt", 0: "nothing can be learnt of it"}
    told = []
    for count, meaning in means.items():
        names = [own.class_names[number] for number in np.flatnonzero(counts == count)]
        if names:
            one = f"class `{names[0]}` has" if len(names) == 1 else f"{len(names)} classes have"
            listed = "" if len(names) == 1 else f" ({', '.join(names[:NAMES])}{', ...' if len(names) > NAMES else ''})"
            told.append(f"{one} {'one photo' if count else 'no photo'}{listed}: {meaning}")
    return told


def _without(table: pd.DataFrame, faults: list[Fault]) -> pd.DataFrame:
    return table[~table["group"].isin({fault.group for fault in faults})].reset_index(drop=True)


def _decode_train(
    path: Path, table: pd.DataFrame, params: Params, keep: bool, talk: Talk
) -> tuple[pd.DataFrame, list[Fault], Built]:
    """Write the training cache; with data.on_fault: skip, once more without the groups whose photos cannot be read."""
    everything: list[Fault] = []
    while True:
        files = photos.files(params, table["file"].tolist())
        built = pixel_cache.build(path, files, params, talk, "decode training photos", keep)
        faults = [
            Fault(str(files[place]), fault.problem, fault.mend, table["group"].iloc[place])
            for place, fault in built.faults
        ]
        everything += faults
        if not faults or params.data.on_fault == "stop":
            _tell_unended(files, built, talk)
            return table, everything, built
        table = _without(table, faults)


def _decode_eval(path: Path, ids: list[str], params: Params, keep: bool, talk: Talk) -> tuple[list[Fault], Built]:
    files = photos.eval_files(params, ids)
    built = pixel_cache.build(path, files, params, talk, "decode eval photos", keep)
    _tell_unended(files, built, talk)
    return [Fault(str(files[place]), fault.problem, fault.mend) for place, fault in built.faults], built


def _tell_unended(files: Files, built: Built, talk: Talk) -> None:
    if built.unended:
        talk.say(
            f"warning: {len(built.unended)} photos in {files.folder} lack only the mark of their end, first "
            f"{shown(files.names[built.unended[0]])}: used, since all pixels are there"
        )


def _report(own: Task, faults: list[Fault], eval_faults: list[Fault], skip: bool, listed: str, talk: Talk) -> None:
    """Write faults.csv; stop with all faults named, or say who is skipped."""
    everything = faults + eval_faults
    columns = ["where", "problem", "mend", photos.unit_column(own)]
    table = pd.DataFrame([tuple(vars(fault).values()) for fault in everything], columns=columns)
    write_csv(paths.FAULTS, table)
    if not everything:
        return
    groups = sorted({fault.group for fault in faults if fault.group})
    nobodys = len(everything) - sum(bool(fault.group) for fault in faults)
    reason = f"what concerns no one {own.unit} cannot be left out"
    reason = "an eval photo cannot be left out" if eval_faults else reason
    stops = nobodys or not skip
    if len(everything) == 1 and stops:
        raise UserError(f"{everything[0]}{f' ({reason} by data.on_fault: skip)' if skip else ''}")
    title = f"Faults of the data set{f', the first {SHOWN} of {len(everything)}' if len(everything) > SHOWN else ''}"
    talk.table(title, columns, table.head(SHOWN).to_numpy(str).tolist())
    if stops:
        mend = "mend them"
        if not nobodys:
            whom = own.unit if len(groups) == 1 else f"{len(groups)} {own.units}"
            mend += f", or set data.on_fault: skip to leave out the {whom} concerned"
        elif skip:
            mend += f"; data.on_fault: skip does not help with {nobodys} of them: {reason}"
        raise UserError(f"data: {len(everything)} faults{listed}; {mend}")
    names = ", ".join(groups[:NAMES]) + (", ..." if len(groups) > NAMES else "")
    whom = f"1 {own.unit}" if len(groups) == 1 else f"{len(groups)} {own.units}"
    talk.say(f"prepare: skipped {whom} with faults, listed in {paths.FAULTS}: {names}")
