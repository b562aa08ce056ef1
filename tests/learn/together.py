"""Real processes that train one fold together over gloo, from the server that starts folds: it has made all imports."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from stages.parallel import training_process

HANGS = 300.0  # seconds after which processes are taken to wait for each other for ever


def together(
    number: int, work: Callable[..., Any], *words: Any, folders: Sequence[Path] = (), cpu: bool = True
) -> list[Any]:
    """What `work(*words)` returns in each of so many processes, by index; the exception where it raises one.

    folders: that each works in; the working folder of the test where there are none.
    """
    context = training_process.context()
    with tempfile.TemporaryDirectory() as meeting:
        pipes, processes = [], []
        for index in range(number):
            here, there = context.Pipe(duplex=False)
            folder = folders[index] if folders else Path.cwd()
            place = (index, number, f"file://{meeting}/place", cpu)
            process = context.Process(target=_process, args=(there, place, folder, work, words))
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        try:
            return [pipe.recv() if pipe.poll(HANGS) else TimeoutError("hangs") for pipe in pipes]
        finally:
            for process in processes:
                process.join(10)
                process.kill()


def _process(pipe: Any, place: tuple[int, int, str, bool], folder: Path, work: Callable[..., Any], words: Any) -> None:
    index, number, meeting, cpu = place
    os.chdir(folder)
    card = index if cpu else index % torch.cuda.device_count()  # accelerate takes the local rank for its number
    ranks = {"RANK": index, "LOCAL_RANK": card, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
    os.environ |= {name: str(value) for name, value in ranks.items()} | ({"ACCELERATE_USE_CPU": "true"} if cpu else {})
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=index, world_size=number)
    try:
        found = work(*words)
    except BaseException as error:
        found = error
    pipe.send(found)
    distributed.destroy_process_group()
