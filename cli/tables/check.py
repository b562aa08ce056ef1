"""What people read on stdout of check."""

from typing import TYPE_CHECKING

from cli.lines import Column, Lines, Table, duration, plain, table

if TYPE_CHECKING:  # it imports torch, which the other tables do without
    from stages.by_hand.check import Report


def check(report: "Report", width: int) -> Lines:
    """Whether all works and how long it will take, then what `stages.by_hand.check.run` looked at, and each stage's time."""
    findings, failed = report.findings, report.failed
    warnings = sum(finding.state == "warning" for finding in findings)
    if failed:
        answer = f"{failed[0].what} fails: {failed[0].detail}"
    else:
        answer = f"all works{f', with {warnings} to look at' if warnings else ''}: "
        answer += f"`dvc repro` will take about {duration(report.total_seconds)}"
    looked = Table(
        [Column("what"), Column("result"), Column("found", "prose")],
        [(finding.what, finding.state, finding.detail) for finding in findings],
        styles=[finding.state for finding in findings],
    )
    lines = [*plain([answer], width), ("", ""), *table(looked, width)]
    if failed:
        return lines
    rows = [(estimate.stage, estimate.speed, duration(estimate.seconds)) for estimate in report.estimates]
    times = Table(
        [Column("stage"), Column("measured", "number"), Column("time", "number")],
        [*rows, ("all", "", duration(report.total_seconds))],
        "Estimated time of `dvc repro`",
        [*[""] * len(rows), "all"],
    )
    return [*lines, ("", ""), *table(times, width)]
