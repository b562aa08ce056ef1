"""python timm_launch.py SCRIPT [arguments]: runs one of timm's scripts, as `python SCRIPT` would in its own folder.

Before it, torchvision is imported, which needs help where its compiled library does not load (torchvision_import.py).
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    from torchvision_import import load_torchvision

    load_torchvision()
    script, sys.argv = sys.argv[1], sys.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)  # the timm beside the script, not another release's
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
