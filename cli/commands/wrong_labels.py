"""The commands that find wrong labels and mend them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import Json, answer, examples, found_by, params, print_json, talk

if TYPE_CHECKING:
    from stages.by_hand.review import Began

commands = typer.Typer()


@commands.command(epilog=examples("maskcli audit", "maskcli audit --first 50", "maskcli audit --json"))
def audit(
    first: Annotated[int, typer.Option(min=0, help="Suspects to show; suspects.csv has all.")] = 10,
    as_json: Json = False,
) -> None:
    """Find labels that are likely wrong, from the OOF predictions.

    Confident learning by the models of other folds: ranked suspects with a suggested label and the reason, and how much of the
    labels is wrong (docs/audit.md). Writes out/audit; `maskcli report` shows the first suspects' photos.
    """
    from stages.by_hand import audit as stage

    with found_by(lambda: stage.run(params(), talk())) as found:
        if as_json:
            print_json(found | {"suspects": found["suspects"][:first]})
            return
        from cli.tables import audit as tables

        answer(lambda width: tables.audit(found, first, width))


@commands.command(
    epilog=examples(
        "maskcli review", "maskcli review --axis gender --first 200", "maskcli review --who ann --port 8020"
    )
)
def review(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: all networks of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="If taken: the next free one. 0: any free one.")] = 8010,
    who: Annotated[str, typer.Option(help="Whose decisions these are; git's user.name if left out.")] = "",
    first: Annotated[int, typer.Option(min=0, help="The first so many suspects; 0: all.")] = 0,
    axis: Annotated[str, typer.Option(help="Suspects of this axis alone.")] = "",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Look at suspects one by one in a browser, and decide.

    The suspects of `maskcli audit`, near-duplicates and unreadable photos of `maskcli eda`, or any photo; keys to accept, keep,
    relabel, skip and undo. Decisions go to corrections.csv at once, and `maskcli prepare` applies them (docs/review.md). The
    printed URL holds a token: whoever has it may look and decide. Ctrl-C ends it.
    """
    from stages.by_hand import review as stage

    def began(found: "Began") -> None:
        print(json.dumps(vars(found)) if as_json else _said(found), flush=True)
        if open_page:
            typer.launch(found.url)

    stage.run(params(), stage.Asked(host, port, who, first, axis), began, talk().say)


def _said(found: "Began") -> str:
    decided = f", {found.decided:,} of {found.questions:,} decided" if found.decided else ""
    return (
        f"{found.url}\n{found.said}{decided}; {found.photos:,} photos\n"
        f"decisions of {found.who} go to corrections.csv at once; Ctrl-C ends it"
    )
