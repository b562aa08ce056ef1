"""All that training imports, in one module: stages/folds.py has it imported once, before it starts a process a fold."""

from stages import train
from stages.learn.timm_import import load_timm

TIMM = load_timm()
run = train.run
