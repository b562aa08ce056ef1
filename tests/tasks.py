"""Tasks that are not the contest's."""

from stages.data.task_and_classes import Axis, Task


def task_of(classes: int, unit: str = "photo", layout: str = "folder") -> Task:
    """One axis of so many classes, as a folder of classes has it."""
    return Task(layout, (Axis("label", tuple(f"kind {number:04d}" for number in range(classes))),), unit)


# A table of patients: two axes, one of them a number; classes of the old are a subset.
PATIENTS = Task(
    "table",
    (Axis("finding", ("none", "cyst", "tumour")), Axis("age", ("<40", "40-69", "70+"), (40, 70), constant=True)),
    "group",
    {"old": (2, 5, 8), "tumours": (6, 7, 8)},
)
