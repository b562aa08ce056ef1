"""serve: a trained ensemble behind HTTP, until SIGTERM or Ctrl-C."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import cores, extras, garbage
from stages.base.errors import UserError
from stages.bundle import new_photos, predictor
from stages.bundle.new_photos import Unreadable
from stages.bundle.predictor import Predictor
from stages.by_hand import predict_rows
from stages.by_hand.predict_rows import Form
from stages.learn import cpu_threads, predict

if TYPE_CHECKING:
    from stages.serving.app import Model

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


def run(
    opened: Callable[[], Predictor], asked: Asked, began: Callable[[str, str], None], say: Callable[[str], None]
) -> None:
    """Serve the ensemble that `opened` opens, until a signal ends it.

    began: told the URL and the model's id when the first request may come. say: told of each request, one line.
    Raises UserError, for a port that is taken before anything is opened.
    """
    extras.check("serve", extras.HTTP)
    from stages.base import http_server
    from stages.serving import app
    from stages.serving.batching import Batches
    from stages.serving.incoming import Bounds
    from stages.serving.watched import log

    place = http_server.bound(asked.host, asked.port)
    ensemble = opened()
    params = ensemble.params
    size = asked.megabytes * 1_000_000
    batches = Batches(predict.batch_size(params, predict.accelerator(params).device), asked.waiting, GATHER)
    bounds = Bounds(size, min(PHOTOS, asked.waiting), BODIES * size, asked.seconds)
    served = model(ensemble)
    with cpu_threads.taken(cpu_threads.most(params)):
        application = app.application(served, batches, bounds, max(2, cores.available()), log(say))
        garbage.collect_as_usual()
        began(http_server.listen(place, asked.host), served.id)
        http_server.run(http_server.made(application, asked.seconds), place, asked.seconds)


def model(ensemble: Predictor) -> "Model":
    """What the service asks of an ensemble."""
    from stages.serving.app import Model

    return Model(
        id=predict_rows.made_by(Form(), ensemble)["model"],
        size=ensemble.params.cache_size,
        read=lambda content: read(ensemble, content),
        run=lambda pixels: predictor.probabilities(ensemble, pixels),
        told=lambda voted, listed: told(ensemble, voted, listed),
    )


def read(ensemble: Predictor, content: bytes) -> np.ndarray:
    """A photo's bytes as uint8 [H + 2m, W + 2m, 3]. Raises UserError as predict's row of such a photo says it."""
    try:
        return new_photos.read(content, "photo", ensemble.params)
    except Unreadable as fault:
        raise UserError(f"{fault.problem}; {fault.mend}") from None


def told(ensemble: Predictor, voted: np.ndarray, listed: bool) -> list[dict[str, Any]]:
    """Predict's JSON of each photo from voted probabilities [n, C], but for its file; listed: with those of all classes."""
    task, said = ensemble.task, predict_rows.said(ensemble, voted, None)
    rows = []
    for place, own in enumerate(said.probability.tolist()):
        row = predict_rows.row("", place, said, Form(), task)
        del row["file"]
        rows.append(row | ({"probabilities": dict(zip(task.class_names, own, strict=True))} if listed else {}))
    return rows
