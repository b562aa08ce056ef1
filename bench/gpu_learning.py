"""The parts of bench/gpu.py that compute on the GPU, in one process, which compiles cuDNN's kernels once.

python bench/gpu_learning.py PLAN TO       PLAN: JSON, as `Plan`; TO: a file that takes a line of JSON an event

Rates take turns within a round. Each part's lines hold all that it has measured so far, so that one that is cut off
leaves that.
"""

import gc
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gpu_floor
import gpu_host
import gpu_jpeg
import gpu_memory
import gpu_together
import numpy as np
import rates
import torch
from scratch import say

from stages.base import cores
from stages.base.talk import SILENT
from stages.data.fold_data import FoldData
from stages.data.task_and_classes import CONTEST
from stages.learn import merged_batch_norm, model, objective, predict
from stages.learn.learner import Learner, start
from stages.learn.timm_import import load_timm
from stages.params.load import parse
from stages.params.schema import Params

LR = 1e-4
FOLDS = 5
VIEWS = ("identity", "hflip")
MARGIN = 16
WARM = 6  # steps: a graph is recorded at the third

Tell = Callable[[dict[str, Any]], None]
Rates = dict[str, Callable[[], float]]


@dataclass(frozen=True)
class Setting:
    """A model, its photos' size, px, and its batch."""

    model: str
    height: int
    width: int
    batch: int

    def __str__(self) -> str:
        return f"{self.model} {self.height}x{self.width}"


@dataclass(frozen=True)
class Plan:
    """What is measured: parts by name, each of a setting; and how long and how often."""

    parts: list[tuple[str, str, Setting]]  # name, kind (one of those that `main` knows), setting
    seconds: float  # of one measurement
    rounds: int
    photos: int  # of the pixel cache, which epochs go over as often as they need
    compiled: str  # the model that is also measured with torch.compile; none: empty
    mps: dict[str, str] = field(default_factory=dict)  # environment of processes that MPS serves; empty: it serves none


def main() -> None:
    plan = json.loads(sys.argv[1])
    plan = Plan(**plan | {"parts": [(name, kind, Setting(**setting)) for name, kind, setting in plan["parts"]]})
    kinds = {"steps": steps, "timm": tried, "jpeg": jpeg, "prediction": prediction, "memory": memory}
    kinds["together"] = together
    with Path(sys.argv[2]).open("a") as file:

        def write(event: dict[str, Any]) -> None:
            file.write(json.dumps(event) + "\n")
            file.flush()

        for name, kind, setting in plan.parts:
            write({"part": name, "state": "begun"})

            def tell(result: dict[str, Any], name: str = name) -> None:
                write({"part": name, "state": "measured", "result": result})

            try:
                kinds[kind](plan, setting, tell)
                write({"part": name, "state": "done"})
            except Exception as error:
                traceback.print_exc()
                words = " ".join(str(error).split())[:200]
                write({"part": name, "state": "failed", "error": f"{type(error).__name__}: {words}"})
            gc.collect()
            if torch.cuda.is_available():
                with suppress(RuntimeError):  # after an error of the GPU all calls fail
                    torch.cuda.empty_cache()


def params_of(setting: Setting, compiled: bool = False) -> Params:
    return parse(
        {
            "model": {"name": setting.model},
            "image": {
                "height": setting.height,
                "width": setting.width,
                "margin": min(MARGIN, min(setting.height, setting.width) // 8),
            },
            "train": {"batch_size": setting.batch, "mixed_precision": "bf16", "compile": compiled},
            "data": {"cache_gb": 0},
            "tta": {"views": list(VIEWS)},
        }
    )


def steps(plan: Plan, setting: Setting, tell: Tell) -> None:
    """Training: on a resident batch and from the cache, as CUDA graphs and kernel by kernel; forward passes; and what the
    memory's bandwidth would allow.
    """
    params = params_of(setting)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = fold_of(noise_cache(Path(folder) / "pixels.npy", plan.photos, params))
        began = time.perf_counter()
        captured = learner_of(params, data)
        result: dict[str, Any] = asdict(setting)
        runs: Rates = {}
        add_training(runs, plan, captured, "")
        result["first_steps_seconds"] = round(time.perf_counter() - began, 1)
        result["captured"] = captured_words(captured)
        result["photos_lie"] = "on the GPU" if hasattr(captured.data.pixels, "tensor") else "in memory"
        eager = learner_of(params, data)
        eager.captured = None
        ways = {"captured": captured, "eager": eager}
        add_training(runs, plan, eager, "eager ")
        runs["forward"] = forward(plan, params)
        if plan.compiled == setting.model:
            add_training(runs, plan, learner_of(params_of(setting, compiled=True), data), "compiled ")
        result["host_ms"] = {name: gpu_host.milliseconds(one, plan.seconds) for name, one in ways.items()}
        result |= floor_of(captured.mean.device, params, setting)
        in_turns(plan, setting, runs, result, tell)
        result |= {"threads": captured.making.threads, "captured": captured_words(captured)}
        tell(result)


def tried(plan: Plan, setting: Setting, tell: Tell) -> None:
    """timm's own step, and ours, with the algorithms that cuDNN.benchmark finds, in a process that has computed no convolution
    before: once torch has an algorithm for a shape, benchmark on or off, it stays with that.
    """
    torch.backends.cudnn.benchmark = True
    params = params_of(setting)
    result: dict[str, Any] = asdict(setting)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = fold_of(noise_cache(Path(folder) / "pixels.npy", setting.batch, params))
        began = time.perf_counter()
        runs: Rates = {"timm": timm_step(plan, params, setting, compiled=False)}
        result["first_steps_seconds"] = round(time.perf_counter() - began, 1)
        ours = learner_of(params, data)
        torch.backends.cudnn.benchmark = True  # training of its own accord would not try for so few steps
        add_training(runs, plan, ours, "tried ")
        runs.pop("tried epoch")
        if plan.compiled == setting.model:
            runs["compiled timm"] = timm_step(plan, params, setting, compiled=True)
        in_turns(plan, setting, runs, result, tell)


def in_turns(plan: Plan, setting: Setting, runs: Rates, result: dict[str, Any], tell: Tell) -> None:
    """Each rate once a round; all of them are told after every round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(plan.rounds):
        for name, run in runs.items():
            found[name].append(round(run(), 1))
        result["rates"] = found
        tell(result)
        latest = ", ".join(f"{name} {values[-1]:.0f}" for name, values in found.items())
        say(f"gpu: {setting}, round {number + 1} of {plan.rounds}: {latest} photos/s")


def learner_of(params: Params, data: FoldData) -> Learner:
    return start(params, data, 0, LR, predict.accelerator(params), SILENT)


def captured_words(learner: Learner) -> str:
    """Whether steps are CUDA graphs: yes, no, or why training gave them up."""
    kept = getattr(learner, "captured", None)
    return "no" if kept is None else kept.why or "yes"


def add_training(runs: Rates, plan: Plan, learner: Learner, what: str) -> None:
    """The ceiling and the epoch of a learner, warm, each as long as the plan says."""
    goal = objective.make(learner.params, learner.data.task, learner.data.class_counts)
    size = learner.params.train.batch_size
    batch = rates.resident(learner, size)
    rates.learning(learner, goal, WARM, batch)
    number = steps_in(plan.seconds, size, rates.learning(learner, goal, WARM, batch))
    learner.data = replace(learner.data, train=np.resize(learner.data.train, number * size))
    rates.epoch(learner, goal, LR)  # after it the loader has as many threads as it needs
    runs[f"{what}ceiling"] = lambda: rates.learning(learner, goal, number, batch)
    runs[f"{what}epoch"] = lambda: rates.epoch(learner, goal, LR)


def steps_in(seconds: float, size: int, rate: float) -> int:
    """Steps of so many photos at photos/s `rate` that take so long; two at least."""
    return max(2, round(seconds * rate / size))


def timm_step(plan: Plan, params: Params, setting: Setting, compiled: bool) -> Callable[[], float]:
    """timm's training step as its train.py takes it at its best setting, on a resident batch: the rate that its train.py cannot
    exceed. AMP with bf16, channels_last, cudnn.benchmark, fused AdamW, cross entropy, no EMA, no wait after a step.
    """
    timm = load_timm()
    from timm.optim import create_optimizer_v2

    device = predict.accelerator(params).device
    net = timm.create_model(setting.model, num_classes=CONTEST.classes)
    net = net.to(device=device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(net, opt="adamw", lr=LR, weight_decay=0.05, fused=True)
    called = torch.compile(net) if compiled else net
    loss_of = torch.nn.CrossEntropyLoss().to(device)
    photos = torch.randn(setting.batch, 3, setting.height, setting.width, device=device)
    photos = photos.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CONTEST.classes, (setting.batch,), device=device)

    def run(number: int) -> float:
        rates.wait()
        began = time.perf_counter()
        for _ in range(number):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = loss_of(called(photos), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.wait()
        return number * setting.batch / (time.perf_counter() - began)

    run(WARM)
    number = steps_in(plan.seconds, setting.batch, run(WARM))
    return lambda: run(number)


def forward(plan: Plan, params: Params) -> Callable[[], float]:
    """Forward passes of a model as it predicts, on a resident batch."""
    chosen = predict.accelerator(params)
    (net,) = predict.ready([model.build(model.architecture(params, CONTEST)).eval()], chosen.device)
    size = predict.batch_size(params, chosen.device)
    photos = torch.randn(size, 3, params.image.height, params.image.width, device=chosen.device)
    photos = photos.to(memory_format=torch.channels_last)

    def run(number: int) -> float:
        with torch.inference_mode(), chosen.autocast():
            rates.wait()
            began = time.perf_counter()
            for _ in range(number):
                net(photos)
            rates.wait()
        return number * size / (time.perf_counter() - began)

    run(WARM)
    number = steps_in(plan.seconds / 2, size, run(WARM))
    return lambda: run(number)


def floor_of(device: torch.device, params: Params, setting: Setting) -> dict[str, float]:
    """Bytes of a step, counted on the CPU, the device's memory's bytes/s, and the photos/s that these allow."""
    few = torch.randn(2, 3, setting.height, setting.width)
    net = model.build(model.architecture(params, CONTEST)).train()
    moved = gpu_floor.bytes_a_step(net, few, setting.batch)
    rate = gpu_floor.bandwidth(device, 2**30 if device.type == "cuda" else 2**20)
    return {
        "bytes_a_step": moved,
        "bandwidth_bytes_a_second": round(rate),
        "bandwidth_photos_a_second": round(setting.batch * rate / moved),
    }


def jpeg(plan: Plan, setting: Setting, tell: Tell) -> None:
    """An epoch of photos decoded on the fly beside its ceiling, and the decoder alone."""
    params = params_of(setting)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        written = gpu_jpeg.photos(folder / "photos", min(gpu_jpeg.PHOTOS, plan.photos))
        pixels: Any = gpu_jpeg.on_the_fly(folder / "pixels.npy", written, params)
        result = asdict(setting) | {"bytes_a_photo": gpu_jpeg.mean_bytes(written), "cores": cores.usable()}
        result["decoder"] = gpu_jpeg.decoder_rates(written, pixels, params, plan.seconds)
        tell(result)
        runs: Rates = {}
        learner = learner_of(params, fold_of(pixels))
        add_training(runs, plan, learner, "")
        goal = objective.make(params, CONTEST, learner.data.class_counts)
        rates.epoch(learner, goal, LR)
        threaded = replace(learner, data=replace(learner.data, pixels=replace(pixels, apart=False)))
        runs["epoch in threads"] = lambda: rates.epoch(threaded, goal, LR)
        in_turns(plan, setting, runs, result, tell)
        tell(result | {"threads": learner.making.threads})


def prediction(plan: Plan, setting: Setting, tell: Tell) -> None:
    """Five folds x two views of the cache, and the same models' forward passes alone; passes/s."""
    params = params_of(setting)
    result: dict[str, Any] = asdict(setting) | {"rates": {"prediction": [], "forward": []}}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        pixels = noise_cache(folder / "pixels.npy", plan.photos, params)
        shape = model.architecture(params, CONTEST)
        weights = [folder / f"{fold}.safetensors" for fold in range(FOLDS)]
        for path in weights:
            model.save(path, shape, model.build(shape).state_dict())
        chosen = predict.accelerator(params)
        nets = [model.channels_last(merged_batch_norm.merged(model.load(path)), chosen.device) for path in weights]
        size = predict.batch_size(params, chosen.device)
        photos = torch.randn(size, 3, setting.height, setting.width, device=chosen.device)
        photos = photos.to(memory_format=torch.channels_last)
        alone_rate = passes_alone(nets, photos, params, 1)  # warms up
        alone_rate = passes_alone(nets, photos, params, 1)
        batches = steps_in(plan.seconds, size * FOLDS * len(VIEWS), alone_rate) + 1
        for _ in range(plan.rounds):
            result["rates"]["prediction"].append(round(predicted(weights, pixels, params, batches * size)))
            result["rates"]["forward"].append(round(passes_alone(nets, photos, params, (batches - 1) * len(VIEWS))))
            tell(result)
        say(f"gpu: {setting}, prediction: {result['rates']} passes/s")


def predicted(weights: list[Path], pixels: np.ndarray, params: Params, photos: int) -> float:
    """Passes/s of all models and views over so many photos, after the first batch."""
    positions = np.resize(np.arange(len(pixels)), photos)
    parts = predict.of_weights(weights, predict.Asked(CONTEST, pixels, positions, VIEWS), params)
    (first,) = {next(parts)[2].shape[1] for _ in weights}
    began = time.perf_counter()
    rest = sum(part.shape[1] for _, _, part in parts) // FOLDS
    rate = rest * FOLDS * len(VIEWS) / (time.perf_counter() - began)
    assert first + rest == photos
    return rate


def passes_alone(nets: list[Any], photos: torch.Tensor, params: Params, times: int) -> float:
    """Passes/s of all models on a resident batch."""
    with torch.inference_mode(), predict.accelerator(params).autocast():
        rates.wait()
        began = time.perf_counter()
        for _ in range(times):
            for net in nets:
                net(photos)
        rates.wait()
    return times * len(nets) * len(photos) / (time.perf_counter() - began)


def memory(plan: Plan, setting: Setting, tell: Tell) -> None:
    result: dict[str, Any] = asdict(setting)
    for key, value in gpu_memory.figures(setting):
        tell(result := result | {key: value})


def together(plan: Plan, setting: Setting, tell: Tell) -> None:
    """Several trainings at once, each a process of its own; this one leaves the GPU to them."""
    gpu_together.measure(setting, plan.seconds, plan.mps, tell)


def noise_cache(path: Path, photos: int, params: Params) -> np.ndarray:
    """A pixel cache of noise, memory-mapped as prepare's is."""
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (photos, *params.cache_size, 3))
    few = np.random.default_rng(0).integers(0, 256, (min(64, photos), *params.cache_size, 3), np.uint8)
    for first in range(0, photos, len(few)):
        pixels[first : first + len(few)] = few[: photos - first]
    return np.load(path, mmap_mode="r")


def fold_of(pixels: Any) -> FoldData:
    """All photos on the training side, of random classes and ages."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CONTEST.classes, len(pixels))
    ages = rng.integers(18, 80, len(pixels)).astype(float)
    return FoldData(CONTEST, pixels, labels, labels, ages, np.arange(len(pixels)), np.arange(0))


if __name__ == "__main__":
    main()
