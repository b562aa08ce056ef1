"""Prometheus' text."""

import re

from stages.serving import counts
from stages.serving.counts import Counts, Histogram

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? \S+')


def test_every_line_is_a_comment_or_a_sample_of_the_metric_that_is_described_above_it() -> None:
    found = Counts()
    found.requests["/predict", 200] += 3
    found.seconds.observe(0.02)
    name = ""
    for line in counts.text(found, 0, "abc").splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] == name
        elif line.startswith("# HELP "):
            name = line.split()[2]
        else:
            assert SAMPLE.fullmatch(line), line
            assert re.match(rf"{name}(_bucket|_sum|_count)?[ {{]", line)


def test_buckets_hold_what_lies_below_their_bound_too() -> None:
    found = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        found.observe(value)
    lines = list(counts._histogram("x", found))
    assert lines == [
        'maskcli_x_bucket{le="1"} 2',
        'maskcli_x_bucket{le="2"} 3',
        'maskcli_x_bucket{le="+Inf"} 4',
        "maskcli_x_sum 12",
        "maskcli_x_count 4",
    ]


def test_a_sum_of_many_photos_still_grows_by_one() -> None:
    found = Histogram((1.0,), sum=2_000_000.0)
    found.observe(1)
    assert "maskcli_x_sum 2000001" in counts._histogram("x", found)
