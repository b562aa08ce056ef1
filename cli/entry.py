"""The program's entry point: what `maskcli` does before anything is imported that takes time."""

import sys


def run() -> None:
    """Import the commands and run the one that was asked for; Ctrl-C during the imports is one line too."""
    try:
        from cli.main import run as run_command
    except KeyboardInterrupt:
        print("maskcli: interrupted before it began", file=sys.stderr)
        sys.exit(130)
    run_command()
