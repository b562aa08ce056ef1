"""The command that puts trained models behind HTTP."""

import json
import sys
from contextlib import suppress
from typing import Annotated

import typer

from cli.commands import take_along
from cli.common import Json, examples, talk

commands = typer.Typer()


@commands.command(
    epilog=examples("maskcli serve .", "maskcli serve masks.zip --port 9000 --quiet", "maskcli serve . --port 0 --json")
)
def serve(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|.", help="A bundle, folder or .zip; or . for this project.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: all networks of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one; the first line names it.")] = 8000,
    max_mb: Annotated[int, typer.Option(min=1, max=1000, help="Largest request, MB (photos of a form together).")] = 20,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds in which a request must arrive, and then be answered.")
    ] = 30,
    queue: Annotated[int, typer.Option(min=1, help="Photos that may wait; those beyond get 503.")] = 256,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line a request on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Answer photos over HTTP, behind a proxy of yours.

    POST /predict takes a JPEG or PNG as its body, or several in a form, and answers as `maskcli predict` does; GET /health says
    whether it is ready, GET /metrics counts for Prometheus (docs/bundles.md). SIGTERM or Ctrl-C: it finishes what it has.
    """
    from stages.by_hand import serve as stage

    def began(url: str, model: str) -> None:
        line = f"{url} answers POST /predict, GET /health, GET /metrics (model {model}); Ctrl-C ends it"
        print(json.dumps({"url": url, "model": model}) if as_json else line, flush=True)

    say = talk()
    asked = stage.Asked(host, port, max_mb, timeout, queue)
    stage.run(lambda: take_along.opened(source, say), asked, began, (lambda line: None) if quiet else _log)


def _log(line: str) -> None:
    with suppress(OSError):  # the terminal is gone
        print(line, file=sys.stderr, flush=True)
