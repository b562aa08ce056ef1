"""serve: a trained ensemble behind HTTP, until SIGTERM or Ctrl-C."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from stages.base import cores
from stages.base.errors import UserError
from stages.bundle.predictor import Predictor
from stages.learn import cpu_threads, predict

EXTRA = ("starlette", "uvicorn")
GATHER = 0.005  # seconds that a batch waits at most for photos which are being decoded
PHOTOS = 32  # in a form
BODIES = 32  # of the largest size, that may be in memory


@dataclass(frozen=True)
class Asked:
    """Where to listen, and what clients may do."""

    host: str
    port: int
    megabytes: int  # of a request
    seconds: float  # in which a request must arrive, and then be answered
    waiting: int  # photos at most


def check_extra() -> None:
    """Raise UserError where a library is missing that only this command needs."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise UserError(f"serve: needs {' and '.join(missing)}; run `pip install {' '.join(EXTRA)}`")


def run(
    opened: Callable[[], Predictor], asked: Asked, began: Callable[[str, str], None], say: Callable[[str], None]
) -> None:
    """Serve the ensemble that `opened` opens, until a signal ends it.

    began: told the URL and the model's id when the first request may come. say: told of each request, one line.
    Raises UserError, for a port that is taken before anything is opened.
    """
    check_extra()
    from stages.serving import app, of_predictor, server
    from stages.serving.batching import Batches
    from stages.serving.incoming import Bounds
    from stages.serving.watched import log

    place = server.bound(asked.host, asked.port)
    ensemble = opened()
    params = ensemble.params
    size = asked.megabytes * 1_000_000
    batches = Batches(predict.batch_size(params, predict.accelerator(params).device), asked.waiting, GATHER)
    bounds = Bounds(size, min(PHOTOS, asked.waiting), BODIES * size, asked.seconds)
    model = of_predictor.model(ensemble)
    with cpu_threads.taken(cpu_threads.most(params)):
        application = app.application(model, batches, bounds, max(2, cores.available()), log(say))
        began(server.listen(place, asked.host), model.id)
        server.run(server.made(application, asked.seconds), place, asked.seconds)
