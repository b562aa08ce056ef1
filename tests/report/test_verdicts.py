"""Differences in words."""

from stages.report import verdicts


def test_an_interval_comes_with_its_brackets_and_one_without_width_is_none() -> None:
    assert verdicts.in_brackets(-0.0123, 0.0456) == " (95 % interval -0.012 to +0.046)"
    assert verdicts.in_brackets(-0.0123, 0.0456, 4) == " (95 % interval -0.0123 to +0.0456)"
    assert verdicts.in_brackets(0.0, 0.0) == verdicts.in_brackets(0.0125, 0.0125, 4) == ""
