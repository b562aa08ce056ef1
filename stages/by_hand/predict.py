"""predict: the class of new photos, by the models of a bundle or of the project at hand."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.bundle.predictor import Predictor
from stages.by_hand import predict_file, predict_maps, predict_photos, predict_rows
from stages.by_hand.predict_file import Row, Wanted
from stages.by_hand.predict_photos import Listed, NewPixels
from stages.by_hand.predict_rows import Form
from stages.judge import votes
from stages.learn import predict
from stages.records.learnt_photos import Known

MOST_SHOWN = 1000  # photos whose answers a terminal shows


@dataclass(frozen=True)
class Asked:
    """What predict is asked for."""

    photos: tuple[str, ...]  # files, folders, patterns, tables
    form: Form
    column: str | None = None  # of tables
    out: Path | None = None
    force: bool = False
    emit: Callable[[str], None] | None = None  # takes each row as a JSON line, where there is no `out`


def run(asked: Asked, opened: Callable[[], Predictor], talk: Talk) -> dict[str, Any]:
    """Answer the photos in order; return what there is to say of all, and `rows` where they go to neither a file nor `emit`.

    A photo that cannot be read has a row that says why. Memory does not grow with the photos but for their names. Raises
    UserError before anything is computed for photos that are not there, a file that is, and what the models cannot be asked.
    """
    photos = _listed(asked)
    predictor = opened()
    predict_rows.check(asked.form, predictor)
    rows: list[Row] = []
    with _file(asked, predictor, photos) as answers:
        done = answers.done if answers else 0
        if asked.form.maps:
            predict_maps.check(asked.form.maps, predictor, asked.force or bool(done))
        count = Count(Counter(answers.before if answers else ()))
        if done:
            talk.say(f"predict: goes on after {done} answers in {answers.wanted.partial}")
        try:
            for made in answered(predictor, photos, asked.form, done, talk):
                count.add(made)
                if answers:
                    answers.write([predict_rows.flat(row) for row in made] if answers.wanted.as_csv else made)
                elif asked.emit:
                    for row in made:
                        asked.emit(predict_file.json_line(row))
                else:
                    rows += made
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{answers.done} answers are in {answers.wanted.partial}" if answers else ""
            ) from None
    return {
        "photos": len(photos.names),
        "already_answered": done,
        **count.found(),
        "passed_over": photos.passed_over,
        "out": str(asked.out) if asked.out else None,
        **predict_rows.measured(asked.form, predictor),
        **({} if answers or asked.emit else {"rows": rows}),
    }


def _listed(asked: Asked) -> Listed:
    """The photos, where there is a place for their answers."""
    if asked.out:
        predict_file.check(asked.out, asked.force)
    photos = predict_photos.listed(asked.photos, asked.column)
    if not asked.out and not asked.emit and len(photos.names) > MOST_SHOWN:
        raise UserError(
            f"predict: {len(photos.names)} photos are too many to show; name a file for the answers by --out answers.csv, or "
            "print them with --json"
        )
    return photos


def _file(asked: Asked, predictor: Predictor, photos: Listed) -> Any:
    """The file of answers, to be entered; None in its place where there is none. Raises UserError for what it cannot say."""
    if not asked.out:
        return nullcontext()
    columns = predict_rows.columns(asked.form, predictor.task)
    wanted = Wanted(asked.out, columns, predict_rows.made_by(asked.form, predictor), asked.force)
    if wanted.as_csv:
        predict_rows.check_csv(asked.form, predictor.task)
    return predict_file.opened(wanted, photos.names)


def voted(predictor: Predictor, pixels: NewPixels, done: int = 0) -> Iterator[tuple[range, np.ndarray]]:
    """Batch by batch the photos' positions from `done` on, and voted probabilities [n, C], before the temperature.

    Photos are read side by side with the networks, as the loader of stages.learn does it, in the batches of tta-predict.
    """
    contents = predictor.contents
    which = predict.Asked(predictor.task, pixels, np.arange(done, len(pixels)), contents.views)
    for place, part in predict.of_ready(predictor.networks, which, predictor.params):
        positions = range(done + place.start, done + place.stop)
        yield positions, votes.VOTES[contents.vote](part.reshape(-1, len(positions), predictor.task.classes))


def answered(predictor: Predictor, photos: Listed, form: Form, done: int, talk: Talk) -> Iterator[list[Row]]:
    """Rows of the photos from `done` on, batch by batch."""
    if done == len(photos.names):
        return
    pixels = NewPixels(photos, predictor.params, Known(predictor.learnt))
    learnt, read = 0.0, 0
    known = predict_rows.thresholds(form, predictor)
    ticks = talk.track(range(done, len(photos.names)), len(photos.names), "predict", done)
    for positions, probabilities in voted(predictor, pixels, done):
        found = predict_rows.said(predictor, probabilities, known)
        rows = []
        readable = []
        for place, (position, fault) in enumerate(zip(positions, pixels.take(positions), strict=True)):
            next(ticks)
            name = photos.names[position]
            if fault:
                rows.append(predict_rows.failed(fault))
                continue
            rows.append(predict_rows.row(name, place, found, form, predictor.task))
            readable.append(place)
        learnt += sum(pixels.learnt.pop(position, 0.0) for position in positions)
        read += len(readable)
        if form.maps and readable:
            files = [
                predict_maps.file(form.maps, positions[place], photos.names[positions[place]]) for place in readable
            ]
            again = pixels[np.array([positions[place] for place in readable])]  # a batch is not kept: few ask for maps
            predict_maps.write(predictor, again, found.answer[readable], files)
            for place, path in zip(readable, files, strict=True):
                rows[place]["heat_map"] = str(path)
        yield rows
    next(ticks, None)
    if learnt:
        talk.say(
            f"warning: predict: these models have learnt from {pixels.known.in_words(learnt, read)} of these {read} photos; how "
            "well they answer them says nothing of new ones"
        )


@dataclass
class Count:
    """What became of the photos."""

    kinds: Counter[str]
    sets: int = 0
    classes: int = 0  # in these sets
    began: float = field(default_factory=time.monotonic)
    added: int = 0

    def add(self, rows: list[Row]) -> None:
        self.added += len(rows)
        for row in rows:
            self.kinds[predict_file.kind(row)] += 1
            if "set" in row:
                self.sets += 1
                self.classes += len(row["set"])

    def found(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        return {
            **{name: self.kinds[name] for name in ("answered", "abstained", "unreadable")},
            "classes_in_a_set": self.classes / self.sets if self.sets else None,
            "photos_per_second": self.added / seconds if seconds else 0.0,
        }
