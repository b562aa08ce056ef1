"""What the service counts, and its text for Prometheus (text format 0.0.4). All counting is done on the event loop's thread."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHOTOS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Histogram:
    """Numbers counted by the first bound that they do not exceed; those above all bounds last."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass
class Counts:
    """Since the service began."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # by path and status
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))  # of POST /predict
    photos: Counter[str] = field(default_factory=lambda: Counter(answered=0, unreadable=0))
    batches: Histogram = field(default_factory=lambda: Histogram(PHOTOS))  # photos in each
    requests_now: int = 0


def text(counts: Counts, photos_waiting: int, model: str) -> str:
    """All counts as Prometheus reads them."""
    return "".join(f"{line}\n" for line in _lines(counts, photos_waiting, model))


def _lines(counts: Counts, photos_waiting: int, model: str) -> Iterator[str]:
    yield from _head("model_info", "gauge", "The model that answers.")
    yield f'maskcli_model_info{{model="{model}"}} 1'
    yield from _head("requests_total", "counter", "Requests by path and status; 499: the client went away.")
    for (path, status), count in sorted(counts.requests.items()):
        yield f'maskcli_requests_total{{path="{path}",status="{status}"}} {count}'
    yield from _head("request_seconds", "histogram", "From a POST /predict's headers to its answer.")
    yield from _histogram("request_seconds", counts.seconds)
    yield from _head("photos_total", "counter", "Photos by what became of them.")
    for outcome, count in counts.photos.items():
        yield f'maskcli_photos_total{{outcome="{outcome}"}} {count}'
    yield from _head("batch_photos", "histogram", "Photos that went through the networks together.")
    yield from _histogram("batch_photos", counts.batches)
    yield from _head("requests_in_progress", "gauge", "Requests that have no answer yet.")
    yield f"maskcli_requests_in_progress {counts.requests_now}"
    yield from _head("photos_waiting", "gauge", "Photos that have arrived and have no answer yet.")
    yield f"maskcli_photos_waiting {photos_waiting}"


def _head(name: str, kind: str, said: str) -> Iterator[str]:
    yield f"# HELP maskcli_{name} {said}"
    yield f"# TYPE maskcli_{name} {kind}"


def _histogram(name: str, found: Histogram) -> Iterator[str]:
    """Prometheus' buckets hold all that lies below their bound too."""
    total = 0
    for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
        total += count
        yield f'maskcli_{name}_bucket{{le="{"+Inf" if bound == float("inf") else f"{bound:g}"}"}} {total}'
    yield f"maskcli_{name}_sum {found.sum:.15g}"  # of six digits the sum of a million photos would stand still
    yield f"maskcli_{name}_count {total}"
