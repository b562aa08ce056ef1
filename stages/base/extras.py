"""Libraries that only some commands need, and that a plain installation does not bring."""

from importlib.util import find_spec

from stages.base.errors import UserError

HTTP = ("starlette", "uvicorn")  # of the commands that answer over HTTP


def check(command: str, libraries: tuple[str, ...]) -> None:
    """Raise UserError where one is missing that the command needs."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise UserError(f"{command}: needs {' and '.join(missing)}; run `pip install {' '.join(libraries)}`")
