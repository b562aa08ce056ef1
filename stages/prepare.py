"""prepare: read and check every row and photo once, label them, and write the pixel caches.

Later stages trust what they find in out/prepare: no fault of the data set gets past this stage.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from stages.base import cores, paths
from stages.base.errors import UserError
from stages.base.files import replacing, write_csv
from stages.base.talk import Talk
from stages.data import layout, pixel_cache, task
from stages.data.cache_record import Files
from stages.data.csv_rows import Fault, shown
from stages.data.pixel_cache import Built
from stages.params.schema import Params

SHOWN = 20


def run(params: Params, talk: Talk) -> None:
    """Write people.csv, photos.csv, eval.csv, class_counts.csv, faults.csv, pixels.npy and eval_pixels.npy.

    All faults of the data set are collected, shown as a table and written to faults.csv. data.on_fault: skip leaves out
    the people they name. Raises UserError where there are others, or with data.on_fault: stop; then nothing but
    faults.csv is written, and what an earlier run wrote stays.
    """
    people, faults = layout.read_people(paths.TRAIN_CSV)
    photos, photo_faults = layout.find_photos(people, paths.TRAIN_IMAGES)
    faults += photo_faults
    eval_ids, eval_faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    skip = params.data.on_fault == "skip"
    listed = people["path"]
    photos = _without(photos, faults) if skip else photos
    keep = pixel_cache.fits(len(photos) + len(eval_ids), params)
    began = time.perf_counter()
    with replacing(paths.PIXELS) as train_cache:
        photos, bad, of_train = _decode_train(train_cache, photos, params, keep, talk)
        faults += bad
        with replacing(paths.EVAL_PIXELS) as eval_cache:
            bad, of_eval = _decode_eval(eval_cache, eval_ids, params, keep, talk)
            eval_faults += bad
            decoding = time.perf_counter() - began
            _report(faults, eval_faults, skip, talk)
            if photos.empty:
                raise UserError(f"data: all people have faults, listed in {paths.FAULTS}; mend them")
            people = people[people["person"].isin(set(photos["person"]))]
            photos = photos.assign(content=of_train.contents)
            _write_tables(people, photos, pd.DataFrame({"ImageID": eval_ids, "content": of_eval.contents}), params)
    pixel_cache.record(paths.PIXELS, of_train, params)
    pixel_cache.record(paths.EVAL_PIXELS, of_eval, params)
    if not faults:
        _warn_of_unlisted(listed, paths.TRAIN_IMAGES, paths.TRAIN_CSV, talk)
    _warn_of_unlisted(eval_ids, paths.EVAL_IMAGES, paths.EVAL_CSV, talk)
    talk.say(f"prepare: {len(people)} people, {len(photos)} training photos, {len(eval_ids)} eval photos")
    if not keep:
        total = len(photos) + len(eval_ids)
        talk.say(_on_the_fly(pixel_cache.space(total, params), params, total / decoding))


def _on_the_fly(space: int, params: Params, rate: float) -> str:
    """What it means that the pixel caches have not been written."""
    return (
        f"prepare: the pixel caches would take {space / 1e9:.3g} GB, more than data.cache_gb allows ({params.data.cache_gb:g}): "
        f"photos are decoded again whenever they are read, here about {rate:,.0f} photos/s on {cores.usable()} threads, in "
        "every epoch and view; to cache them, raise data.cache_gb or lower image.height and image.width"
    )


def _write_tables(people: pd.DataFrame, photos: pd.DataFrame, eval_photos: pd.DataFrame, params: Params) -> None:
    mask, gender, age = (photos[name].to_numpy() for name in ("mask", "gender", "age"))
    labels = layout.label(mask, gender, layout.age_bin(age, layout.age_bins(params)))
    photos = photos.assign(label=labels)[list(layout.PHOTO_TYPES)]
    task.write(task.made(params, {}, ("gender", "age"), "person"))
    write_csv(paths.PEOPLE, people)
    write_csv(paths.PHOTOS, photos)
    write_csv(paths.EVAL, eval_photos)
    write_csv(paths.CLASS_COUNTS, layout.class_counts(photos))


def _without(photos: pd.DataFrame, faults: list[Fault]) -> pd.DataFrame:
    return photos[~photos["person"].isin({fault.person for fault in faults})].reset_index(drop=True)


def _decode_train(
    path: Path, photos: pd.DataFrame, params: Params, keep: bool, talk: Talk
) -> tuple[pd.DataFrame, list[Fault], Built]:
    """Write the training cache; with data.on_fault: skip, once more without the people whose photos cannot be read."""
    everything: list[Fault] = []
    while True:
        files = Files(paths.TRAIN_IMAGES, photos["file"].tolist())
        built = pixel_cache.build(path, files, params, talk, "decode training photos", keep) if len(files) else Built()
        faults = [
            Fault(str(files[place]), fault.problem, fault.mend, photos["person"].iloc[place])
            for place, fault in built.faults
        ]
        everything += faults
        if not faults or params.data.on_fault == "stop":
            _tell_unended(files, built, talk)
            return photos, everything, built
        photos = _without(photos, faults)


def _decode_eval(path: Path, ids: list[str], params: Params, keep: bool, talk: Talk) -> tuple[list[Fault], Built]:
    files = Files(paths.EVAL_IMAGES, layout.eval_names(ids, paths.EVAL_IMAGES) if ids else [])
    built = pixel_cache.build(path, files, params, talk, "decode eval photos", keep) if ids else Built()
    _tell_unended(files, built, talk)
    return [Fault(str(files[place]), fault.problem, fault.mend) for place, fault in built.faults], built


def _tell_unended(files: Files, built: Built, talk: Talk) -> None:
    if built.unended:
        talk.say(
            f"warning: {len(built.unended)} photos in {files.folder} lack only the mark of their end, first "
            f"{shown(files.names[built.unended[0]])}: used, since all pixels are there"
        )


def _report(faults: list[Fault], eval_faults: list[Fault], skip: bool, talk: Talk) -> None:
    """Write faults.csv; stop with all faults named, or say who is skipped."""
    everything = faults + eval_faults
    columns = ["where", "problem", "mend", "person"]
    table = pd.DataFrame([vars(fault) for fault in everything], columns=columns)
    write_csv(paths.FAULTS, table)
    if not everything:
        return
    people = sorted({fault.person for fault in faults if fault.person})
    nobodys = len(everything) - sum(bool(fault.person) for fault in faults)
    reason = "an eval photo cannot be left out" if eval_faults else "what concerns no one person cannot be left out"
    stops = nobodys or not skip
    if len(everything) == 1 and stops:
        raise UserError(f"{everything[0]}{f' ({reason} by data.on_fault: skip)' if skip else ''}")
    title = f"Faults of the data set{f', the first {SHOWN} of {len(everything)}' if len(everything) > SHOWN else ''}"
    talk.table(title, columns, table.head(SHOWN).to_numpy(str).tolist())
    if stops:
        mend = "mend them"
        if not nobodys:
            whom = "person" if len(people) == 1 else f"{len(people)} people"
            mend += f", or set data.on_fault: skip to leave out the {whom} concerned"
        elif skip:
            mend += f"; data.on_fault: skip does not help with {nobodys} of them: {reason}"
        raise UserError(f"data: {len(everything)} faults, all listed in {paths.FAULTS}; {mend}")
    names = ", ".join(people[:8]) + (", ..." if len(people) > 8 else "")
    talk.say(f"prepare: skipped {_people(len(people))} with faults, listed in {paths.FAULTS}: {names}")


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _warn_of_unlisted(listed: Iterable[str], folder: Path, table: Path, talk: Talk) -> None:
    names = layout.unlisted(listed, folder)
    if names:
        talk.say(
            f"warning: {len(names)} names in {folder} stand in no row of {table}, first {shown(names[0])}: not used"
        )
