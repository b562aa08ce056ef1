"""refit: train on all the training people, several seeds, and write a submission beside the fold ensemble's."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import best_epochs, decide, paths, run_record, settled, tta_predict
from stages.data import pseudo
from stages.data.cache import open_cache
from stages.data.fold import FoldData, open_all
from stages.errors import UserError
from stages.files import read_csv, write_csv, write_json, write_npz
from stages.judge import votes
from stages.learn import checkpoint, fit, interrupt, learner, loader, model, predict, run_key
from stages.learn.checkpoint import Keeper
from stages.learn.progress import Progress
from stages.params import Params
from stages.talk import SILENT, Talk

VALIDATION = ("val_loss", "val_nll", "val_f1", "val_acc")  # columns of a fold's history that a refit cannot have


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write models/<seed>.safetensors, history.csv, submission.csv, probabilities.npz and summary.json below out/refit.

    Epochs, not steps, are those of the folds: warm-up, frozen epochs, drw and the schedule all count in epochs, so every
    photo is seen as often as in the folds while an epoch has k/(k-1) as many steps. Both are defensible (Goodfellow, Bengio
    & Courville 2016, Deep Learning, section 7.8); refit.epochs takes a number where one wants the other. The last epoch
    is kept, since nothing is left to choose one by: for the same reason there is no score.
    """
    learner.check(params)
    check(params)
    epochs = best_epochs.for_refit(params, talk) if params.refit.epochs == "auto" else params.refit.epochs
    own = params.model_copy(
        update={"train": params.train.model_copy(update={"epochs": epochs, "patience": 0, "select": "last"})}
    )
    data = pseudo.join(params, open_all(params), pseudo.ALL, talk)
    lr = settled.read(params).lr
    images = read_csv(paths.EVAL, "prepare", {"ImageID": str})["ImageID"]
    # As tta-predict decides; without offsets the folds' run does not matter.
    of_folds = run_record.joined(params, talk, "refit").run if params.decision == "adjusted" else ""
    decided = decide.settle(params, talk, of_folds)
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    _train(own, data, lr, talk)
    if not predict.accelerator(params).is_main_process:
        return {}
    weights = [paths.refit_weights(seed) for seed in range(params.refit.seeds)]
    probabilities = votes.VOTES[params.ensemble.vote](tta_predict.predict_views(params, pixels, talk, weights))
    answers = pd.DataFrame({"ImageID": images, "ans": tta_predict.answer(probabilities, decided.offsets)})
    summary = {
        "epochs": epochs,
        "steps": epochs * len(loader.split(data.train, params.train.batch_size)),
        "seeds": params.refit.seeds,
        "train_photos": len(data.train),
        "lr": lr,
        "equal_answers": equal_answers(answers, paths.SUBMISSION),
    }
    write_npz(paths.REFIT_PROBABILITIES, image=images.to_numpy(str), probabilities=probabilities.astype(np.float32))
    write_csv(paths.REFIT_SUBMISSION, answers)
    write_json(paths.REFIT_SUMMARY, summary)
    return summary


def check(params: Params) -> None:
    """Raise UserError for what needs a validation side."""
    if params.schedule.name == "plateau":
        raise UserError(
            "params.yaml: schedule.name: plateau lowers the learning rate by val_nll, and a refit has no validation side; "
            "use cosine, onecycle or constant"
        )


def equal_answers(answers: pd.DataFrame, other: Path) -> float | None:
    """Share of the photos that another submission answers alike; None if it does not exist or has other photos."""
    if not other.exists():
        return None
    theirs = pd.read_csv(other, dtype={"ImageID": str})
    if list(theirs["ImageID"]) != list(answers["ImageID"]):
        return None
    return float((theirs["ans"] == answers["ans"]).mean())


def _train(params: Params, data: FoldData, lr: float, talk: Talk) -> None:
    """Train one model a seed and write each when it is done; draws differ from every fold's, as a fold of its own would.

    A refit that was cut off goes on from its checkpoint, as a fold does.
    """
    accelerator = predict.accelerator(params)
    main, fold = accelerator.is_main_process, len(params.folds)
    record = run_key.record(params, lr, accelerator.num_processes)
    tables: list[pd.DataFrame] = []
    with ExitStack() as stack:
        stack.enter_context(checkpoint.alone(fold, record.run, talk) if main else nullcontext())
        asked = stack.enter_context(interrupt.noted()) if accelerator.num_processes == 1 else interrupt.no_interrupt
        for seed in range(params.refit.seeds):
            heard = _named(talk, f"refit seed {seed}") if main else SILENT
            accelerator = predict.accelerator(
                params
            )  # a new one: the last one's model and gradients would stay in memory
            made = learner.start(learner.of_repeat(params, seed), data, fold, lr, accelerator, heard)
            keeper = Keeper(record.run, fold, seed, params.train.epochs, params.checkpoint.minutes * 60)
            progress = keeper.load(made, heard)
            progress = fit.fit(made, lr, heard, _saying(heard), progress, keeper, interrupt=asked)
            accelerator.free_memory()
            if not main:
                continue
            if not seed:
                _forget()
            model.save(paths.refit_weights(seed), model.architecture(params), progress.selected_state, record)
            tables.append(pd.DataFrame(progress.history).drop(columns=list(VALIDATION)).assign(seed=seed))
            write_csv(paths.REFIT_HISTORY, pd.concat(tables, ignore_index=True))
        if main:
            checkpoint.prune(fold, record.run, params.refit.seeds)


def _forget() -> None:
    """Remove an earlier refit's files, once there is something to put in their place: no two refits are mixed."""
    earlier = [paths.REFIT_SUBMISSION, paths.REFIT_PROBABILITIES, paths.REFIT_SUMMARY]
    for path in [*earlier, *paths.REFIT_MODELS.glob("*.safetensors")]:
        path.unlink(missing_ok=True)


def _named(talk: Talk, name: str) -> Talk:
    """The same talk under the refit's name, where the fit loop would name a fold."""

    def track(items: Iterable[Any], total: int, label: str) -> Iterator[Any]:
        return talk.track(items, total, name)

    return Talk(lambda line: talk.say(f"{name}: {line}"), track)


def _saying(talk: Talk) -> Callable[[Progress], None]:
    return lambda progress: talk.say(_line(progress))


def _line(progress: Progress) -> str:
    row = progress.history[-1]
    return (
        f"epoch {row['epoch']:>2}  train_loss {row['train_loss']:.4f}  lr {row['lr']:.2e}  "
        f"{row['photos_per_second']:.0f} photos/s"
    )
