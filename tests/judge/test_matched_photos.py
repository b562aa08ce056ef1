"""Photos are paired by what they are, not by what they are called."""

from dataclasses import replace

import numpy as np

from stages.judge.matched_photos import Photos, pair


def photos(count: int = 20) -> Photos:
    """Two photos a person, each content once."""
    return Photos(
        name=np.array([f"{number}.jpg" for number in range(count)]),
        group=np.repeat(np.arange(count // 2).astype(str), 2),
        label=np.arange(count) % 3,
        content=np.arange(1, count + 1).astype(np.uint64),
    )


def reordered(one: Photos, order: np.ndarray) -> Photos:
    return Photos(*(getattr(one, name)[order] for name in ("name", "group", "label", "content")))


def changed(one: Photos, name: str, where: list[int], values: list[object]) -> Photos:
    array = getattr(one, name).copy()
    array[where] = values
    return replace(one, **{name: array})


def test_the_same_photos_in_another_order_are_all_alike() -> None:
    order = np.random.default_rng(0).permutation(20)
    found = pair(photos(), reordered(photos(), order))
    assert (order[found.b] == found.a).all()
    assert (len(found.a), found.differing, found.first, found.known) == (20, 0, "", True)


def test_photos_that_changed_places_under_their_names_keep_their_labels_only_where_these_agree() -> None:
    """0 and 1 are one person's, of two labels; 0 and 3 would be alike in label, but are two people's."""
    swapped = changed(photos(), "content", [0, 1], [2, 1])
    found = pair(photos(), swapped)
    assert found.a.tolist() == list(range(2, 20))
    assert (found.relabelled, found.remade, found.first) == (2, 0, "0.jpg")
    same_label = changed(changed(photos(), "label", [1], [0]), "content", [0, 1], [2, 1])
    found = pair(changed(photos(), "label", [1], [0]), same_label)
    assert (found.differing, found.b[:2].tolist()) == (0, [1, 0])  # a photo is itself under any name


def test_a_photo_replaced_in_place_is_left_out_and_one_renamed_is_not() -> None:
    found = pair(photos(), changed(photos(), "content", [4], [99]))
    assert (found.remade, len(found.a), found.by_name, found.first) == (1, 19, False, "4.jpg")
    found = pair(photos(), changed(photos(), "name", [4], ["z.jpg"]))
    assert (found.differing, len(found.a)) == (0, 20)


def test_photos_all_made_anew_are_the_same_photos_by_name() -> None:
    found = pair(photos(), replace(photos(), content=photos().content + np.uint64(100)))
    assert (len(found.a), found.remade, found.by_name) == (20, 20, True)


def test_other_labels_and_people_are_left_out_and_photos_of_one_run_alone_too() -> None:
    found = pair(photos(), changed(photos(), "label", [3, 5], [1, 1]))
    assert (found.relabelled, len(found.a)) == (2, 18)
    found = pair(photos(), reordered(photos(), np.arange(4, 20)))
    assert (found.only_a, found.only_b, len(found.a), found.first) == (4, 0, 16, "0.jpg")
    found = pair(reordered(photos(), np.arange(4, 20)), photos())
    assert (found.only_a, found.only_b, len(found.a)) == (0, 4, 16)


def test_without_known_content_names_count() -> None:
    unknown = replace(photos(), content=np.zeros(20, np.uint64))
    for one, other in ((unknown, photos()), (photos(), unknown), (unknown, unknown)):
        found = pair(one, other)
        assert (len(found.a), found.differing, found.known) == (20, 0, False)


def test_the_same_content_twice_is_told_apart_by_name() -> None:
    twice = changed(photos(), "content", [1], [1])
    found = pair(twice, changed(twice, "name", [0, 1], ["x.jpg", "y.jpg"]))
    assert (found.only_a, found.only_b, len(found.a)) == (2, 2, 18)
