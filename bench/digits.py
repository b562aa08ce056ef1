"""scikit-learn's handwritten digits as a folder of PNGs with a long tail, to try maskcli on real photos that nobody here drew.

python bench/digits.py FOLDER [--rarest 0.05]     (then `maskcli init FOLDER`)

FOLDER/train/<digit>/<number>.png, one class a folder and no groups; FOLDER/test/<digit>/ holds a fifth of every digit, as
common as it is in the whole. Of digit d stay (rarest)^(d / 9) of the training photos, so that 9 is the rarest (Cui et al.
2019 make CIFAR long-tailed so). Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI; the part
that comes with scikit-learn: 1,797 photos of 8 x 8 px, which are written four times as large.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

SCALE = 4  # px a px: so small as they are, no layer of a network would see more than one place
TEST = 5  # one photo in so many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to make")
    parser.add_argument("--rarest", type=float, default=0.05, help="share of the 9s that stays for training")
    options = parser.parse_args()
    counts = write(options.folder, options.rarest)
    print(f"{options.folder}: {sum(counts)} training photos, by digit {' '.join(map(str, counts))}")


def write(folder: Path, rarest: float) -> list[int]:
    """Write train/ and test/ below `folder`; training photos of each digit."""
    digits = load_digits()
    counts = []
    for digit in range(10):
        places = np.random.default_rng(digit).permutation(np.flatnonzero(digits.target == digit))
        test, train = places[: len(places) // TEST], places[len(places) // TEST :]
        train = train[: max(1, round(len(train) * rarest ** (digit / 9)))]
        counts.append(len(train))
        for side, chosen in (("train", train), ("test", test)):
            place = folder / side / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            for number in chosen:
                photo = (digits.images[number] * 255 / 16).round().astype(np.uint8)
                cv2.imwrite(str(place / f"{number:04d}.png"), photo.repeat(SCALE, 0).repeat(SCALE, 1))
    return counts


if __name__ == "__main__":
    main()
