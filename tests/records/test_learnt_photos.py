"""Which photos weights have learnt from, by the content of their files: exact for few, estimated for many."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.base import paths
from stages.base.files import write_json
from stages.records import learnt_photos
from stages.records.learnt_photos import MOST, Known, Learnt
from stages.records.run_record import Record

RECORD = Record(run="key", data={"photos": "digest of photos.csv"})


def photos(count: int, seed: int = 0) -> np.ndarray:
    """Hashes of so many photos, uint64."""
    return np.random.default_rng(seed).integers(1, 2**64, count, dtype=np.uint64)


def found(trainings: list[Learnt], contents: np.ndarray) -> str:
    known = Known(trainings)
    return known.in_words(float(known.standing_for(contents).sum()), len(contents))


def test_of_few_photos_each_is_known_whatever_their_order_and_whatever_stands_beside_them() -> None:
    learnt, others = photos(MOST), photos(5000, 1)
    told = learnt_photos.of(learnt)
    assert told == learnt_photos.of(np.random.default_rng(2).permutation(learnt))
    looked_at = np.concatenate([others, learnt[100:142]])
    assert np.flatnonzero(Known([told]).standing_for(looked_at)).tolist() == list(range(5000, 5042))
    assert found([told], looked_at) == "42"
    assert found([told], others) == "0"


def test_the_same_file_twice_is_learnt_once_and_found_twice() -> None:
    learnt = photos(10)
    told = learnt_photos.of(np.repeat(learnt, 3))
    assert told == learnt_photos.of(learnt)
    assert told.photos == 10
    assert found([told], learnt[[3, 3, 4]]) == "3"


def test_a_photo_of_which_no_content_is_known_is_no_other_such_photo() -> None:
    nothing = np.zeros(4, np.uint64)
    assert learnt_photos.of(nothing).photos == 0
    assert not Known([learnt_photos.of(nothing)])
    assert found([learnt_photos.of(np.append(photos(3), nothing))], nothing) == "0"


@pytest.mark.parametrize("share", [0.005, 0.1, 1.0])
def test_of_many_photos_the_number_in_common_is_estimated(share: float) -> None:
    learnt = photos(100_000)
    told = learnt_photos.of(learnt)
    assert len(told.smallest) == 8 * MOST
    looked_at = np.concatenate([learnt[: int(share * 100_000)], photos(3000, 1)])
    about, _, number = found([told], looked_at).partition(" ")
    assert about == "about"
    # The sample holds one in 24 of them: 20, 410 and 4,096.
    spread = (share * 100_000 * 100_000 / MOST) ** 0.5
    assert abs(int(number) - share * 100_000) <= 4 * spread + 0.05 * share * 100_000


def test_an_estimate_is_of_no_more_photos_than_there_are() -> None:
    learnt = photos(100_000)
    assert found([learnt_photos.of(learnt)], np.sort(learnt)[:7]) == "about 7"


def test_no_overlap_of_half_a_percent_of_what_was_learnt_is_missed() -> None:
    learnt = photos(20_000)
    known, rng = Known([learnt_photos.of(learnt)]), np.random.default_rng(1)
    assert all(known.standing_for(rng.choice(learnt, 100, replace=False)).any() for _ in range(200))


def test_trainings_in_a_row_are_all_known_also_a_small_one_before_a_large_one() -> None:
    first, second = photos(50), photos(50_000, 1)
    before = learnt_photos.of_training(RECORD, first, ())
    chain = learnt_photos.of_training(RECORD, second, before)
    third = learnt_photos.of_training(RECORD, photos(10, 2), chain)
    assert [one.photos for one in third] == [10, 50_000, 50]
    known = Known(third)
    assert known.standing_for(first).tolist() == [1.0] * 50
    assert known.standing_for(second).sum() == pytest.approx(50_000)
    assert known.standing_for(photos(1000, 3)).sum() == 0


def test_a_photo_of_a_training_known_whole_and_of_one_known_by_a_sample_is_one_photo() -> None:
    many = photos(100_000)
    both = np.sort(many)[:10]  # so that the sample holds them
    for trainings in ([many, both], [both, many]):
        known = Known([learnt_photos.of(each) for each in trainings])
        assert known.standing_for(both).tolist() == [1.0] * 10


def test_models_of_several_folds_know_what_any_of_them_learnt() -> None:
    every = photos(30_000)
    folds = [learnt_photos.of(every[np.arange(30_000) % 5 != fold]) for fold in range(5)]
    known = Known(folds)
    assert known.standing_for(every).sum() == pytest.approx(30_000, rel=0.05)
    assert found(folds, photos(1000, 1)) == "about 0"


def test_what_the_metadata_hold_reads_back_and_of_what_is_damaged_there_the_table_alone() -> None:
    chain = learnt_photos.of_training(RECORD, photos(20), [learnt_photos.of(photos(9000, 1), "earlier")])
    told: list[Any] = json.loads(json.dumps(learnt_photos.to_json(chain)))
    assert learnt_photos.of_trained({"photos": "digest of photos.csv", "learnt": told}) == chain
    for change in ({"smallest": "?"}, {"smallest": "AAAA"}, {"photos": 3}, {"photos": "many"}, {"photos": 1e400}):
        damaged = learnt_photos.of_trained({"learnt": [told[0] | change]})
        assert damaged == (Learnt("digest of photos.csv"),)
    assert learnt_photos.of_trained({"learnt": [7]}) == (Learnt(""),)


def test_weights_of_before_they_told_it_have_the_digest_of_their_table(tmp_path: Path) -> None:
    assert learnt_photos.of_trained({"run": "key", "photos": "digest"}) == (Learnt("digest"),)
    assert learnt_photos.of_trained({}) == ()
    bundle = tmp_path / "bundle"
    write_json(bundle / paths.OF_BUNDLE, {"origin": {"data": {"photos": "of the bundle"}}})
    assert learnt_photos.of_weights(bundle / "fold0" / "model.safetensors") == (Learnt("of the bundle"),)
    assert learnt_photos.of_weights(tmp_path / "elsewhere" / "fold0" / "model.safetensors") == ()
