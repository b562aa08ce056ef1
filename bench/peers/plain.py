"""Peer: a training loop written by hand with torch's DataLoader and PIL. See work.py for what a peer does."""

import time

import common
import numpy as np
import torch
import work
from torch.nn.functional import cross_entropy


def main() -> None:
    asked = common.options(__doc__)
    if asked.action == "predict":
        common.predict_eval(common.saved_models(asked), asked)
        work.say(torch=torch.__version__)
        return
    files, labels, train, val = work.of_fold(asked.project, asked.fold)
    sides = [
        common.Photos([files[place] for place in side], labels[side], asked, training)
        for side, training in ((train, True), (val, False))
    ]
    training = common.loader(sides[0], asked, asked.batch_size, shuffle=True)
    validation = common.loader(sides[1], asked, 2 * asked.batch_size)
    model = common.new_model(asked.model, asked.channels_last, asked.weights)
    format_ = torch.channels_last if asked.channels_last else torch.contiguous_format
    optimizer = torch.optim.AdamW(model.parameters(), lr=asked.lr, weight_decay=work.WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, asked.lr, epochs=asked.epochs, steps_per_epoch=len(training), pct_start=1 / asked.epochs
    )
    seconds = []
    for epoch in range(asked.epochs):
        began = time.perf_counter()
        model.train()
        for photos, targets in training:
            loss = cross_entropy(model(photos.contiguous(memory_format=format_)), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        found = torch.cat(
            [common.probabilities([model], photos.contiguous(memory_format=format_), False) for photos, _ in validation]
        ).numpy()
        seconds.append(time.perf_counter() - began)
        print(f"epoch {epoch + 1}  val_f1 {work.macro_f1(labels[val], found.argmax(1)):.4f}  {seconds[-1]:.2f} s")
    common.save_fold(asked, model.state_dict(), val, found)
    work.say(
        torch=torch.__version__,
        seconds_per_epoch=float(np.median(seconds[1:] or seconds)),
        val_f1=work.macro_f1(labels[val], found.argmax(1)),
    )


if __name__ == "__main__":
    main()
