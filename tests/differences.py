"""Differences between two runs, made up."""

from stages.judge.paired_difference import UNDECIDED, Difference


def made(metric: str, value: float, half: float, verdict: str = UNDECIDED, seed_sd: float | None = None) -> Difference:
    """One of 0.5 and 0.5 + value, with an interval of +- half, of which the trained models' is the inner half."""
    return Difference(
        metric=metric,
        a=0.5,
        b=0.5 + value,
        difference=value,
        low=value - half,
        high=value + half,
        p_value=0.5,
        verdict=verdict,
        detectable=1.4 * half,
        models_low=value - half / 2,
        models_high=value + half / 2,
        seed_sd=seed_sd,
    )
