"""What each score of metrics.json and of a comparison is called, in short for tables and in whole for the page."""

from stages.data.task_and_classes import Task

SHORT = {"macro_f1": "macro F1", "nll": "val_nll"}  # val_nll, as in plots and histories


def of_class(metric: str) -> bool:
    """Whether a score is the F1 of one class: f1_<number>."""
    return metric.startswith("f1_") and metric.removeprefix("f1_").isdecimal()


def title(metric: str, task: Task) -> str:
    """A score's name in tables: `60+ F1`, `mask F1`, and with number and name of its class `F1 02 wear male 60+`."""
    if of_class(metric):
        return f"F1 {task.numbered_names[int(metric.removeprefix('f1_'))]}"
    name = metric.removeprefix("f1_")
    return f"{subset(name, task)} F1" if name != metric else SHORT.get(metric, metric)


def whole(metric: str, task: Task) -> str:
    """The same in a figure, where there is room: `mean F1 of 60+`, `F1 of mask alone`, `02 wear male 60+`."""
    if of_class(metric):
        return task.numbered_names[int(metric.removeprefix("f1_"))]
    name = metric.removeprefix("f1_")
    if name in task.subsets:
        return f"mean F1 of {subset(name, task)}"
    return f"F1 of {name} alone" if name != metric else SHORT.get(metric, metric)


def subset(name: str, task: Task) -> str:
    """A named subset by the level that it is, if it is one whole level of one axis (60plus: 60+), else by its own name."""
    if name not in task.subsets:
        return name
    levels = (
        level
        for axis in task.axes
        for level in axis.levels
        if task.classes_of({axis.name: level}) == task.subsets[name]
    )
    return next(levels, name)


# Rules for the epoch, scored by what each epoch predicted: means over repeats, where the others are of the repeats joined.
OF_ONE_REPEAT = ("macro_f1_other_folds", "macro_f1_best_epochs")


def headlines(task: Task) -> list[tuple[str, str, bool | None]]:
    """Key in metrics.json, name on the page, whether higher is better: in the order of the page's first table."""
    alone = [
        (f"f1_{axis.name}", f"F1 of {axis.name}{' bin' * axis.numeric} alone", True)
        for axis in task.axes
        if len(task.axes) > 1  # of a single one it is macro F1
    ]
    return [
        ("macro_f1", "macro F1", True),
        ("macro_f1_last", "macro F1 of the last epochs", True),
        ("macro_f1_seed_mean", "macro F1 of a repeat alone, mean", True),
        ("macro_f1_other_folds", "macro F1, epochs fixed from the other folds", True),
        ("macro_f1_best_epochs", "macro F1 of the best epochs (chosen on the scored photos: too high)", True),
        ("accuracy", "accuracy", True),
        ("nll", "cross entropy, nats a photo", False),
        *((f"f1_{name}", f"F1 of the {subset(name, task)} classes", True) for name in task.subsets),
        *alone,
        *((f"{axis.name}_mae", f"mean absolute error of {axis.name}", False) for axis in task.axes if axis.regressed),
        ("ece", "expected calibration error (ECE)", False),
        ("ece_calibrated", "ECE after temperature scaling", False),
        ("temperature", "fitted temperature (above 1: too sure)", None),
    ]
