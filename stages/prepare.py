"""prepare: read and check every row and photo once, label them, and write the pixel caches.

Later stages trust what they find in out/prepare: no fault of the data set gets past this stage.
"""

from pathlib import Path

import pandas as pd

from stages import paths
from stages.data import cache, layout
from stages.data.layout import Fault
from stages.errors import UserError
from stages.files import write_csv
from stages.params import Params
from stages.talk import Talk

SHOWN = 20


def run(params: Params, talk: Talk) -> None:
    """Write people.csv, photos.csv, eval.csv, class_counts.csv, faults.csv, pixels.npy and eval_pixels.npy.

    Raises UserError with a count and the first faults if there are any; data.on_fault: skip leaves out faulty people,
    but an eval photo cannot be left out.
    """
    people, faults = layout.read_people(paths.TRAIN_CSV)
    photos, photo_faults = layout.find_photos(people, paths.TRAIN_IMAGES)
    eval_ids, eval_faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    faults += photo_faults
    photos, train_faults = _decode_train(photos, params, talk)
    faults += train_faults
    eval_faults += _decode_eval(eval_ids, params, talk)
    _report(faults, eval_faults, params, talk)

    mask, gender, age = (photos[name].to_numpy() for name in ("mask", "gender", "age"))
    photos["label"] = layout.label(mask, gender, layout.age_bin(age, params.data.age_bins))
    people = people[people["person"].isin(set(photos["person"]))]
    write_csv(paths.PEOPLE, people)
    write_csv(paths.PHOTOS, photos)
    write_csv(paths.EVAL, pd.DataFrame({"ImageID": eval_ids}))
    write_csv(paths.CLASS_COUNTS, layout.class_counts(photos))
    talk.say(f"prepare: {len(people)} people, {len(photos)} training photos, {len(eval_ids)} eval photos")


def _decode_train(photos: pd.DataFrame, params: Params, talk: Talk) -> tuple[pd.DataFrame, list[Fault]]:
    """Write the training cache; with data.on_fault: skip, once more without the people whose photos cannot be read."""
    everything: list[Fault] = []
    while True:
        files = [paths.TRAIN_IMAGES / file for file in photos["file"]]
        bad = cache.build(paths.PIXELS, files, params, talk, "decode training photos") if files else []
        faults = [
            Fault(str(files[place]), fault.problem, fault.mend, photos["person"].iloc[place]) for place, fault in bad
        ]
        everything += faults
        if not faults or params.data.on_fault == "stop":
            return photos, everything
        photos = photos[~photos["person"].isin({fault.person for fault in faults})].reset_index(drop=True)


def _decode_eval(ids: list[str], params: Params, talk: Talk) -> list[Fault]:
    files = [paths.EVAL_IMAGES / image for image in ids]
    bad = cache.build(paths.EVAL_PIXELS, files, params, talk, "decode eval photos") if files else []
    return [Fault(str(files[place]), fault.problem, fault.mend) for place, fault in bad]


def _report(faults: list[Fault], eval_faults: list[Fault], params: Params, talk: Talk) -> None:
    """Write faults.csv; stop with all faults named, or say who is skipped."""
    everything = faults + eval_faults
    table = pd.DataFrame([vars(fault) for fault in everything], columns=["where", "problem", "mend", "person"])
    write_csv(paths.FAULTS, table)
    skippable = params.data.on_fault == "skip" and all(fault.person for fault in faults) and not eval_faults
    if not everything:
        return
    if skippable:
        people = sorted({fault.person for fault in faults})
        talk.say(
            f"prepare: skipped {len(people)} people with faults, listed in {paths.FAULTS}: {', '.join(people[:8])}"
        )
        return
    for path in (paths.PIXELS, paths.EVAL_PIXELS, paths.PHOTOS):
        Path(path).unlink(missing_ok=True)
    if len(everything) == 1:
        raise UserError(str(everything[0]))
    for fault in everything[:SHOWN]:
        talk.say(str(fault))
    more = f" (the first {SHOWN} stand above)" if len(everything) > SHOWN else ""
    raise UserError(
        f"data: {len(everything)} faults{more}, all listed in {paths.FAULTS}; "
        "mend them, or set data.on_fault: skip to leave out the people concerned"
    )
