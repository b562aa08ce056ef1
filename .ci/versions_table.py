"""python .ci/versions_table.py PAGE: puts what the newest `make versions` found into PAGE's table, and prints the table.

A row is an environment; rows of environments that did not run this time stay as they are, with their dates.
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS, REPORT = Path(".versions/results"), Path(".versions/report.json")
SHOWN = 3  # names of failed tests in a row
HEAD = "| environment | Python | torch | tests | make demo, OOF macro F1 | time | system | date |"
RULE = "|---|---|---|---|---|---|---|---|"


def row(found: dict[str, Any]) -> str:
    """One environment as a line of the table."""
    if not found["built"]:
        cells = ["", "", "could not be installed", "", ""]
    else:
        failed, skipped = found["failed"], found["skipped"]
        said = f"{found['passed']} passed" + (f", {skipped} skipped" if skipped else "")
        if failed:
            more = f" and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
            said = f"**{len(failed)} failed** ({'; '.join(failed[:SHOWN])}{more}), {said}"
        if found["chosen"]:
            said += f" (of `{' '.join(found['chosen'])}`)"
        score = (
            "" if "macro_f1" not in found else "**failed**" if found["macro_f1"] is None else f"{found['macro_f1']:.4f}"
        )
        cells = [found["python"], found["torch"], said, score, f"{found['seconds']} s"]
    return f"| {' | '.join([found['environment'], *cells, found['system'], found['date']])} |"


def main() -> None:
    page = Path(sys.argv[1])
    sessions = {session["name"]: session["result"] for session in json.loads(REPORT.read_text())["sessions"]}
    before, _, rest = page.read_text(encoding="utf-8").partition(HEAD)
    lines = rest.removeprefix("\n").splitlines()
    old = [line for line in lines if line.startswith("|") and line != RULE]
    after = [line for line in lines if not line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in old}
    for name, result in sessions.items():
        if result == "skipped":
            rows.setdefault(name, f"| {name} | | | skipped: no Python {name.split('-')[0]} was found | | | | |")
            continue
        record = RESULTS / f"{name}.json"
        rows[name] = (
            row(json.loads(record.read_text())) if record.exists() else f"| {name} | | | **broke off** | | | | |"
        )
    table = [HEAD, RULE, *(rows[name] for name in sorted(rows))]
    page.write_text(before + "\n".join([*table, *after]) + "\n", encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
