"""What training says of an epoch."""

import pytest

from stages.learn.epoch_lines import epoch_line

ROW = {"epoch": 3, "train_loss": 2.34567, "val_loss": 1.23456, "val_nll": 12.3456, "val_f1": 0.43216, "lr": 1.234e-3}


def test_an_epoch_is_one_line_with_all_its_numbers() -> None:
    assert epoch_line("0", ROW | {"photos_per_second": 512.3}, 20) == (
        "fold 0 epoch  3/20 train 2.346 val 1.235 nll 12.35 f1 0.432 lr 1.2e-3 512/s"
    )


@pytest.mark.parametrize("rate", [0.4, 999.6, 54_321.0])
@pytest.mark.parametrize(
    ("loss", "shown"),
    [(0.01234, "0.012"), (9.99999, "10.00"), (99.999, "100.0"), (1234.567, "1235"), (123_456.0, "1e+05")],
)
def test_the_line_fits_80_columns_whatever_its_numbers(loss: float, shown: str, rate: float) -> None:
    row = ROW | {"train_loss": loss, "val_loss": loss, "val_nll": loss, "epoch": 100, "photos_per_second": rate}
    line = epoch_line("10.2", row, 100)
    assert len(line) <= 80
    assert f"train {shown} val {shown} nll {shown} f1" in line
