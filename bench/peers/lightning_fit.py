"""Peer: Lightning's Trainer over the same photos. See work.py for what a peer does."""

import time
import warnings

import common
import lightning
import numpy as np
import torch
import work
from torch import Tensor
from torch.nn.functional import cross_entropy


class Classifier(lightning.LightningModule):
    """A timm model with its loss, optimizer and validation predictions."""

    def __init__(self, asked: work.Options) -> None:
        super().__init__()
        self.asked = asked
        self.model = common.new_model(asked.model, asked.channels_last)
        self.found: list[Tensor] = []
        self.truth: list[Tensor] = []

    def forward(self, photos: Tensor) -> Tensor:
        return self.model(photos.contiguous(memory_format=torch.channels_last) if self.asked.channels_last else photos)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        photos, targets = batch
        return cross_entropy(self(photos), targets)

    def on_validation_epoch_start(self) -> None:
        self.found, self.truth = [], []

    def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
        self.found.append(self(batch[0]).softmax(1))
        self.truth.append(batch[1])

    def on_validation_epoch_end(self) -> None:
        answers = torch.cat(self.found).argmax(1)
        self.log("val_f1", work.macro_f1(torch.cat(self.truth).numpy(), answers.numpy()))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.asked.lr, weight_decay=work.WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.asked.lr,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=1 / self.asked.epochs,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    warnings.filterwarnings("ignore", module="lightning")  # it advises as many workers as there are cores
    asked = common.options(__doc__)
    if asked.action == "predict":
        common.predict_eval(common.saved_models(asked), asked)
        work.say(lightning=lightning.__version__)
        return
    files, labels, train, val = work.of_fold(asked.project, asked.fold)
    sides = [
        common.Photos([files[place] for place in side], labels[side], asked, training)
        for side, training in ((train, True), (val, False))
    ]
    classifier = Classifier(asked)
    # Everything that only informs is off: it costs time.
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=asked.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    began = time.perf_counter()
    trainer.fit(
        classifier,
        common.loader(sides[0], asked, asked.batch_size, shuffle=True),
        common.loader(sides[1], asked, 2 * asked.batch_size),
    )
    seconds = time.perf_counter() - began
    found = torch.cat(classifier.found).numpy()
    common.save_fold(asked, classifier.model.state_dict(), val, found)
    work.say(
        lightning=lightning.__version__,
        seconds_per_epoch=seconds / asked.epochs,
        val_f1=work.macro_f1(labels[val], np.argmax(found, 1)),
    )


if __name__ == "__main__":
    main()
