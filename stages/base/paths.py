"""Where each stage's files lie, relative to the project folder."""

from pathlib import Path

PARAMS = Path("params.yaml")
REQUIREMENTS = Path("requirements.txt")
CORRECTIONS = Path("corrections.csv")

TRAIN_CSV = Path("data/train/train.csv")
TRAIN_IMAGES = Path("data/train/images")
EVAL_CSV = Path("data/eval/info.csv")
EVAL_IMAGES = Path("data/eval/images")

GROUPS = Path("out/prepare/groups.csv")
PHOTOS = Path("out/prepare/photos.csv")
CLASS_COUNTS = Path("out/prepare/class_counts.csv")
TASK = Path("out/prepare/task.json")
FAULTS = Path("out/prepare/faults.csv")
EVAL = Path("out/prepare/eval.csv")
PIXELS = Path("out/prepare/pixels.npy")
EVAL_PIXELS = Path("out/prepare/eval_pixels.npy")

EDA = Path("out/eda")
EDA_SUMMARY = EDA / "summary.json"
EDA_CLASS_COUNTS = EDA / "class_counts.csv"
EDA_SIZES = EDA / "sizes.csv"
EDA_DUPLICATES = EDA / "near_duplicates.csv"
EDA_UNREADABLE = EDA / "unreadable.csv"
EDA_CLASSES_PNG = EDA / "classes.png"
EDA_SIZES_PNG = EDA / "sizes.png"
EDA_DUPLICATES_PNG = EDA / "near_duplicates.png"
EDA_CONTACT_SHEET = EDA / "contact_sheet.png"

SUSPECTS = Path("out/audit/suspects.csv")
AUDIT_NOISE = Path("out/audit/noise.csv")
AUDIT_SUMMARY = Path("out/audit/summary.json")

FOLDS = Path("out/kfold/folds.csv")
FOLD_SUMMARY = Path("out/kfold/summary.json")

LR_CURVE = Path("out/lr-find/curve.csv")
LR_SUGGESTIONS = Path("out/lr-find/suggestions.csv")
LR_CHOSEN = Path("out/lr-find/lr.json")
LR_PNG = Path("out/lr-find/curve.png")

OF_BUNDLE = "maskcli.json"  # in a bundle: what it holds

TRAIN = Path("out/train")
CHECKPOINTS = Path("out/checkpoints")

OOF = Path("out/oof-ensemble/oof.csv")
OOF_ARRAYS = Path("out/oof-ensemble/oof.npz")
OOF_RUN = Path("out/oof-ensemble/run.json")
OOF_METRICS = Path("out/oof-ensemble/metrics.json")
OOF_ENVIRONMENT = Path("out/oof-ensemble/environment.json")
OOF_HISTORY = Path("out/oof-ensemble/history.csv")
CONFUSION = Path("out/oof-ensemble/confusion.csv")
PER_CLASS = Path("out/oof-ensemble/per_class.csv")
DECISION = Path("out/oof-ensemble/decision.json")

FOREST_PNG = Path("out/compare/forest.png")
EPOCHS_CSV = Path("out/epochs/curve.csv")
EPOCHS_PNG = Path("out/epochs/curve.png")

SUBMISSION = Path("out/tta-predict/submission.csv")
PROBABILITIES = Path("out/tta-predict/probabilities.npz")
SUBMISSION_SUMMARY = Path("out/tta-predict/summary.json")

FILLED = Path("out/fill/submission.csv")

TTA_VIEWS = Path("out/tta-search/views.csv")
TTA_VOTES = Path("out/tta-search/votes.csv")
TTA_SUMMARY = Path("out/tta-search/summary.json")

BLEND_SUBMISSION = Path("out/blend/submission.csv")
BLEND_PROBABILITIES = Path("out/blend/probabilities.npz")
BLEND_WEIGHTS = Path("out/blend/weights.json")

SCREEN = Path("out/screen")
SCREEN_RANKING = SCREEN / "ranking.csv"
SCREEN_TRAININGS = SCREEN / "trainings"
SCREEN_FEATURES = SCREEN / "features.npz"
SCREEN_HEADS = SCREEN / "heads.csv"

NOW = Path("out/submit-now")
NOW_SUBMISSION = NOW / "submission.csv"
NOW_SOURCES = NOW / "made_of.json"

EXPORT = Path("out/export")

REFIT = Path("out/refit")
REFIT_MODELS = REFIT / "models"
REFIT_HISTORY = REFIT / "history.csv"
REFIT_SUMMARY = REFIT / "summary.json"
REFIT_SUBMISSION = REFIT / "submission.csv"
REFIT_PROBABILITIES = REFIT / "probabilities.npz"

PSEUDO_LABELS = Path("pseudo/labels.csv")
NO_PSEUDO_LABELS = Path("pseudo/none.csv")
NO_WEIGHTS = Path("weights/none")
NO_PLUGINS = Path("plugins/none")

DVC_YAML = Path("dvc.yaml")
DVC_LOCK = Path("dvc.lock")

REPORT = Path("out/report/report.html")
PLOTS = Path("out/plots")


def eda_numbers(axis: str) -> Path:
    """The histogram of an axis's numbers: ages.csv of an axis `age`. `sizes` is taken by the photos' own."""
    return EDA / (f"{axis}s.csv" if axis != "size" else "size_numbers.csv")


def eda_numbers_png(axis: str) -> Path:
    return eda_numbers(axis).with_suffix(".png")


def refit_weights(seed: int) -> Path:
    return REFIT_MODELS / f"{seed}.safetensors"


def history(fold: int) -> Path:
    return TRAIN / str(fold) / "history.csv"


def oof_logits(fold: int) -> Path:
    return TRAIN / str(fold) / "oof_logits.npz"


def models(fold: int) -> Path:
    return TRAIN / str(fold) / "models"


def weights(fold: int, repeat: int = 0) -> Path:
    return models(fold) / f"{repeat}.safetensors"


def checkpoint(fold: int, repeat: int, run: str) -> Path:
    return CHECKPOINTS / f"{fold}-{repeat}-{run}.ckpt"


def suspects_kept(place: int, repeat: int, run: str) -> Path:
    """What was found before a training, beside its checkpoint, so that going on need not find it again."""
    return CHECKPOINTS / f"{place}-{repeat}-{run}.npz"


def screened(run: str, fold: int) -> Path:
    return SCREEN_TRAININGS / f"{run}-{fold}.npz"


def train_run(fold: int) -> Path:
    return TRAIN / str(fold) / "run.json"


def train_metrics(fold: int) -> Path:
    return TRAIN / str(fold) / "metrics.json"


def train_environment(fold: int) -> Path:
    return TRAIN / str(fold) / "environment.json"


def suspects(fold: int) -> Path:
    return TRAIN / str(fold) / "suspects.csv"


def tensorboard(fold: int) -> Path:
    return TRAIN / str(fold) / "tensorboard"


def is_here(folder: Path) -> bool:
    """Whether a folder is the working one. Windows: that of a network drive's letter is another once it is resolved."""
    return folder.resolve() == Path.cwd().resolve()
