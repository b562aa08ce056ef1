"""kfold: give each person a fold, stratified by gender and age bin. A person's photos are never divided."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv, write_csv, write_json
from stages.base.talk import Talk
from stages.data import layout
from stages.data.layout import AGES, GENDERS, age_bin
from stages.params.schema import Params


def run(params: Params, talk: Talk) -> None:
    """Write folds.csv (person, fold) and summary.json (people per fold and stratum)."""
    people = read_csv(paths.PEOPLE, "prepare", layout.PEOPLE_TYPES)
    bins = age_bin(people["age"].to_numpy(), layout.age_bins(params))
    folds = assign(people["gender"].to_numpy(), bins, len(params.folds), params.seed)
    write_csv(paths.FOLDS, pd.DataFrame({"person": people["person"], "fold": folds}))
    write_json(paths.FOLD_SUMMARY, {str(fold): int((folds == fold).sum()) for fold in params.folds})
    talk.say(f"kfold: {len(people)} people in {len(params.folds)} folds")


def assign(gender: np.ndarray, age_bins: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each person, [P], from gender codes [P] and age bins [P].

    Every stratum (gender, age bin) spreads over the folds as evenly as can be. Raises UserError if a stratum has fewer
    people than there are folds: some fold would then be scored on classes it never validates.
    """
    strata = gender * len(AGES) + age_bins
    for stratum, count in zip(*np.unique(strata, return_counts=True), strict=True):
        if count < folds:
            name = f"{GENDERS[stratum // len(AGES)]} {AGES[stratum % len(AGES)]}"
            raise UserError(
                f"kfold: only {count} people are {name}, fewer than the {folds} folds; "
                f"set folds: {list(range(max(2, count)))} or fewer, add people, or move axes.age.bins"
            )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    of_person = np.empty(len(strata), np.int64)
    for fold, (_, members) in enumerate(splitter.split(strata, strata)):
        of_person[members] = fold
    return of_person
