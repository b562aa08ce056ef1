import numpy as np
import pandas as pd

from stages.judge import epoch_rules

F1 = np.array([[0.1, 0.5, 0.4, 0.4], [0.1, 0.3, 0.6, 0.5], [0.1, 0.3, 0.55, 0.5]])
NLL = np.array([[2.0, 1.0, 1.5, 1.6], [2.0, 1.4, 1.0, 0.9], [2.0, 1.0, 1.01, 1.01]])


def test_each_rule_names_the_epoch_it_promises() -> None:
    found = {rule: chosen.tolist() for rule, chosen in epoch_rules.rules(F1, NLL).items()}
    assert found == {
        "best_f1": [1, 2, 2],
        "best_nll": [1, 3, 1],
        "other_folds_f1": [2, 2, 2],  # fold 0 prefers epoch index 1, but the other folds decide for it
        "other_folds_nll": [3, 1, 1],
        "last": [3, 3, 3],
    }


def test_a_folds_own_photos_have_no_say_in_its_epoch() -> None:
    changed = F1.copy()
    changed[0] = [0.9, 0.0, 0.0, 0.0]
    assert epoch_rules.from_other_folds(-changed)[0] == epoch_rules.from_other_folds(-F1)[0]


def test_overfitting_begins_where_val_nll_turns_while_train_loss_falls() -> None:
    falling = np.array([2.0, 1.5, 1.0, 0.5])
    assert epoch_rules.overfitting_onset(falling, NLL[0]) == 1
    assert epoch_rules.overfitting_onset(falling, NLL[1]) is None  # lowest at the end
    assert epoch_rules.overfitting_onset(falling, NLL[2]) is None  # one per cent is no rise
    assert epoch_rules.overfitting_onset(falling[::-1], NLL[0]) is None  # training got worse too: not overfitting


def test_the_advice_is_the_earliest_epoch_within_one_standard_error_of_the_best() -> None:
    train_loss = np.tile([2.0, 1.5, 1.0, 0.5], (3, 1))
    advice = epoch_rules.advise(train_loss, NLL, F1, np.arange(3))
    assert advice.best_epoch == 3
    assert advice.best_f1 == [2, 3, 3]
    assert advice.onset == [2, None, None]
    assert np.allclose(advice.cost_f1, F1.mean(0).max() - F1.mean(0))
    # Epoch 2 costs 0.15 on average with a standard error of 0.126: too far; so the best itself is recommended.
    assert advice.recommended == 3
    close = F1.copy()
    close[:, 1] = [0.5, 0.59, 0.54]
    assert epoch_rules.advise(train_loss, NLL, close, np.arange(3)).recommended == 2


def test_repeats_of_a_fold_make_its_people_no_more() -> None:
    train_loss = np.tile([2.0, 1.5, 1.0, 0.5], (3, 1))
    once = epoch_rules.advise(train_loss, NLL, F1, np.arange(3))
    thrice = epoch_rules.advise(*(np.repeat(each, 3, 0) for each in (train_loss, NLL, F1)), np.repeat(np.arange(3), 3))
    for name in ("mean_f1", "band_f1", "band_nll", "cost_f1"):
        assert np.allclose(getattr(thrice, name), getattr(once, name)), name
    assert np.allclose(once.band_f1, F1.std(0, ddof=1) / 3**0.5)
    assert thrice.recommended == once.recommended
    alone = epoch_rules.advise(train_loss, NLL, F1, np.zeros(3))
    assert not alone.band_f1.any()  # three repeats of one fold: nothing is known of other people


def test_a_fold_that_stopped_early_keeps_its_last_value() -> None:
    history = pd.DataFrame({"fold": [0, 0, 1], "epoch": [1, 2, 1], "val_f1": [0.1, 0.2, 0.3]})
    assert epoch_rules.curves(history, "val_f1", 3).tolist() == [[0.1, 0.2, 0.2], [0.3, 0.3, 0.3]]
