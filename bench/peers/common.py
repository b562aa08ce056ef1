"""What the peers share that use torch: the photos, the changes to a photo with PIL, and predictions. See work.py."""

import random
import sys
from pathlib import Path

import numpy as np
from torchvision_import import load_torchvision
from work import CLASSES, FLIP, JITTER, JITTER_SHARE, Options, eval_photos, parser, write_eval

load_torchvision()

import timm  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageEnhance  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in timm


def options(description: str | None) -> Options:
    """Read the command line and set torch's threads."""
    found = Options(**vars(parser(description).parse_args()))
    if found.threads:
        torch.set_num_threads(found.threads)
    found.to.mkdir(parents=True, exist_ok=True)
    return found


def new_model(name: str, channels_last: bool, weights: Path | None = None) -> torch.nn.Module:
    """A timm model with random weights, or but for its last layer those of a file."""
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    if weights:
        head = f"{model.pretrained_cfg['classifier']}."
        found = {name: value for name, value in load_file(weights).items() if not name.startswith(head)}
        unfit = [name for name in model.load_state_dict(found, strict=False).missing_keys if not name.startswith(head)]
        if unfit:
            sys.exit(f"{weights}: has no {unfit[0]}, which {name} has")
    return model.to(memory_format=torch.channels_last) if channels_last else model


class Photos(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Photos from their JPEGs: float32 [3, H, W], normalised, and their labels (0 where there are none)."""

    def __init__(self, files: list[Path], labels: np.ndarray | None, asked: Options, training: bool) -> None:
        self.files, self.labels, self.asked, self.training = files, labels, asked, training
        mean, std = MEAN, STD
        if asked.weights:  # what they were trained with
            cfg = timm.get_pretrained_cfg(asked.model)
            mean, std = cfg.mean, cfg.std
        self.mean = np.array(mean, np.float32) * 255
        self.scale = 1 / (np.array(std, np.float32) * 255)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        with Image.open(self.files[position]) as image:
            photo = changed(image.convert("RGB"), self.asked, self.training)
        pixels = (np.asarray(photo, np.float32) - self.mean) * self.scale
        label = 0 if self.labels is None else int(self.labels[position])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), label


def changed(photo: Image.Image, asked: Options, training: bool) -> Image.Image:
    """Resize with a margin; then a random crop, flip and brightness and contrast, or the centre crop."""
    (height, width), margin = asked.with_margin, asked.margin
    photo = photo.resize((width, height), Image.Resampling.BILINEAR)
    top, left = (random.randint(0, 2 * margin), random.randint(0, 2 * margin)) if training else (margin, margin)
    photo = photo.crop((left, top, left + asked.width, top + asked.height))
    if not training:
        return photo
    if random.random() < FLIP:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < JITTER_SHARE:
        photo = ImageEnhance.Brightness(photo).enhance(1 + random.uniform(-JITTER, JITTER))
        photo = ImageEnhance.Contrast(photo).enhance(1 + random.uniform(-JITTER, JITTER))
    return photo


def loader(photos: Photos, asked: Options, batch_size: int, shuffle: bool = False) -> torch.utils.data.DataLoader:
    """The loader that torch's manual advises: workers that live as long as the training."""
    return torch.utils.data.DataLoader(
        photos,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=asked.workers,
        persistent_workers=asked.workers > 0,
    )


@torch.inference_mode()
def probabilities(models: list[torch.nn.Module], photos: Tensor, flips: bool) -> Tensor:
    """Mean probabilities [n, 18] over models and, where asked, over the photos [n, 3, H, W] and their mirror images."""
    views = [photos, photos.flip(3)] if flips else [photos]
    found = [model(view).softmax(1) for model in models for view in views]
    return torch.stack(found).mean(0)


def predict_eval(models: list[torch.nn.Module], asked: Options) -> None:
    """Write eval.csv: the answer for every eval photo from all models and two views, each photo decoded once."""
    files = eval_photos(asked.project)
    batches = loader(Photos(files, None, asked, False), asked, 2 * asked.batch_size)
    for model in models:
        model.eval()
    format_ = torch.channels_last if asked.channels_last else torch.contiguous_format
    answers = torch.cat(
        [probabilities(models, photos.contiguous(memory_format=format_), True).argmax(1) for photos, _ in batches]
    )
    write_eval(asked.to, files, answers.numpy())


def save_fold(asked: Options, state: dict[str, Tensor], photo: np.ndarray, found: np.ndarray) -> None:
    """Weights, and the validation side's positions `photo` [n] and probabilities `found` [n, 18]."""
    torch.save(state, asked.to / f"{asked.fold}.pt")
    np.savez(asked.to / f"{asked.fold}.npz", photo=photo, probabilities=found)


def saved_models(asked: Options) -> list[torch.nn.Module]:
    models = []
    for fold in range(asked.folds):
        model = new_model(asked.model, asked.channels_last)
        model.load_state_dict(torch.load(asked.to / f"{fold}.pt", weights_only=True))
        models.append(model)
    return models
