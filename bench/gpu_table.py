"""What bench/gpu.py has measured so far, as tables, goals and notes; a part that is not there leaves its rows out."""

import statistics
from typing import Any

import scratch

Row = list[Any]
COLUMNS = ["what", "measured", "against", "ratio", "goal"]
GB = 1e9
MEMORY = {
    "captured_peak_bytes": "one training, captured: tensors at most",
    "captured_reserved_bytes": "one training, captured: set aside",
    "captured_process_bytes": "one training, captured: whole process",
    "eager_peak_bytes": "one training, eager: tensors at most",
    "eager_reserved_bytes": "one training, eager: set aside",
    "eager_process_bytes": "one training, eager: whole process",
    "two_processes_bytes": "two trainings, captured: both processes",
}


def tables(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """All tables, in the order in which they are to be read."""
    found = []
    rows = [row for name in parts for row in _rows_of(name, parts)]
    if rows:
        found.append(scratch.table("Photos/s (end to end: seconds; prediction: passes/s)", COLUMNS, rows))
    for name, part in parts.items():
        if part["kind"] == "end_to_end" and part["result"].get("commands"):
            columns = ["command", "s", "GPU busy", "first work, s", "first progress line, s"]
            rows = [list(command.values()) for command in part["result"]["commands"]]
            found.append(scratch.table(f"{name}, each command (-1: unknown)", columns, rows))
        if part["kind"] == "memory" and part["result"]:
            rows = [
                [words, part["result"][key] / GB] for key, words in MEMORY.items() if part["result"].get(key, -1) >= 0
            ]
            title = "GPU memory, {model} {height}x{width}, batch {batch}".format(**part["result"])
            found += [scratch.table(title, ["what", "GB"], rows)] if rows else []
    return found


def goals(parts: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Ratios by the keys that bench/run.py has goals for."""
    found: dict[str, float] = {}
    for name, part in parts.items():
        result = part["result"]
        if part["kind"] == "end_to_end" and (cost := _end_to_end(part, parts)):
            key = "gpu_end_to_end" + ("_contest" if "contest" in name else "")
            found |= {f"{key}_ratio": round(cost["wall"] / cost["least"], 3)} if cost["least"] else {}
            found |= {f"{key}_busy": cost["busy"]} if cost["busy"] >= 0 else {}
        measured = result.get("rates", {})
        if part["kind"] == "steps" and measured:
            which = f"{result['model']}_{result['height']}x{result['width']}"
            for way in ("", "eager ", "compiled "):
                if f"{way}epoch" in measured:
                    key = f"gpu_epoch_ratio_{way.strip()}_{which}".replace("__", "_")
                    found[key] = ratio(measured, f"{way}epoch", f"{way}ceiling")
            if beside := timms(part, parts):
                found[f"gpu_over_timm_{which}"] = over_timm(measured, beside)
        if part["kind"] == "jpeg" and measured:
            found["gpu_jpeg_ratio"] = ratio(measured, "epoch", "ceiling")
        if part["kind"] == "prediction" and measured.get("forward"):
            found["gpu_inference_ratio"] = ratio(measured, "prediction", "forward")
    return found


def notes(parts: dict[str, dict[str, Any]]) -> list[str]:
    """What failed, imports, and what the tests said."""
    took = [f"{name} {part['seconds']:.0f} s" for name, part in parts.items() if "seconds" in part]
    found = [f"took: {', '.join(took)}"] if took else []
    for name, part in parts.items():
        if part.get("mps"):
            found.append(f"{name}: {part['mps']}")
        if part.get("error"):
            found.append(f"{name}: {part['error']}")
        if part["result"].get("imports"):
            seconds = part["result"]["imports"]
            found.append(f"{name}: imports of a training, s: {', '.join(f'{key} {seconds[key]}' for key in seconds)}")
        if part["result"].get("summary"):
            found.append(f"{name}: {part['result']['summary']}")
    return found


def ratio(rates: dict[str, list[float]], what: str, against: str) -> float:
    """Median of the rounds' own ratios."""
    return round(statistics.median(one / other for one, other in zip(rates[what], rates[against], strict=True)), 3)


def timms(part: dict[str, Any], parts: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Rates of timm's own step in the setting of a part; empty where they were not measured."""
    for other in parts.values():
        if other["kind"] == "timm" and other["setting"] == part["setting"]:
            return dict(other["result"].get("rates", {}))
    return {}


def over_timm(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> float:
    """Our step as training takes it, compiled or not, over timm's best."""
    best = max(statistics.median(ours[name]) for name in ("ceiling", "compiled ceiling") if name in ours)
    return round(best / max(statistics.median(theirs[name]) for name in ("timm", "compiled timm") if name in theirs), 3)


def _rows_of(name: str, parts: dict[str, dict[str, Any]]) -> list[Row]:
    part = parts[name]
    result, measured = part["result"], part["result"].get("rates", {})
    if part["kind"] == "end_to_end" and (cost := _end_to_end(part, parts)):
        least = cost["least"]
        times = cost["wall"] / least if least else None
        seconds: Row = [f"{name}: seconds, photos over rates", cost["wall"], least, times, "<= 1.5"]
        return [seconds, ["  GPU busy", cost["busy"], None, None, ">= 0.8"]]
    if part["kind"] == "steps" and measured:
        return _steps(result, measured, timms(part, parts))
    if part["kind"] == "together":
        return _together(result) if result.get("processes") else []
    if part["kind"] == "jpeg":
        shown = [_title("JPEG on the fly", result)] if result else []
        for cores, rate in result.get("decoder", {}).items():
            kilobytes = f"{result['bytes_a_photo'] / 1000:.0f} kB"
            shown.append([f"  decoder alone, {cores}, {kilobytes} a photo", rate, None, None, ""])
        if measured:
            shown.append(_compared("  epoch", measured, "epoch", "ceiling", ">= 0.9"))
            shown.append(_compared("  decoded in threads instead", measured, "epoch in threads", "ceiling", ""))
        return shown
    if part["kind"] == "prediction" and measured.get("forward"):
        row = _compared("  five folds x two views", measured, "prediction", "forward", "")
        return [_title("prediction", result), row]
    return []


def _steps(result: dict[str, Any], measured: dict[str, list[float]], timm: dict[str, list[float]]) -> list[Row]:
    rows: list[Row] = [["{model} {height}x{width}, batch {batch}, trained".format(**result), None, None, None, ""]]
    if result["captured"] != "yes":
        rows.append([f"  (CUDA graphs: {result['captured'][:26]})", None, None, None, ""])
    rows.append(["  a step on a resident batch: ceiling", _median(measured, "ceiling"), None, None, ""])
    rows.append(_compared(f"  epoch, photos {result['photos_lie']}, over it", measured, "epoch", "ceiling", ">= 0.97"))
    rows.append(_compared("  the same eager", measured, "eager epoch", "eager ceiling", ">= 0.97"))
    rows.append(_compared("  ceiling over eager ceiling", measured, "ceiling", "eager ceiling", ""))
    if "compiled ceiling" in measured:
        rows.append(_compared("  the same compiled", measured, "compiled epoch", "compiled ceiling", ">= 0.97"))
    if timm:
        theirs = max(_median(timm, name) for name in ("timm", "compiled timm") if name in timm)
        row = ["  best of these over timm's own step", theirs * over_timm(measured, timm), theirs]
        rows.append([*row, over_timm(measured, timm), ">= 1.3"])
        tried, own = _median(timm, "tried ceiling"), _median(measured, "ceiling")
        rows.append(["  with cudnn.benchmark, over the ceiling", tried, own, tried / own, ""])
    allowed, reached = result["bandwidth_photos_a_second"], _median(measured, "ceiling")
    rows.append(["  ceiling over what bandwidth allows", reached, allowed, reached / allowed, ""])
    if "host_ms" in result:
        for which, told in (("thread", "thread that trains"), ("process", "all threads")):
            own, card = result["host_ms"]["captured"][which], 1000 * result["batch"] / reached
            rows.append([f"  host ms a step, {told}", own, card, own / card, ""])
    rows.append(["  forward passes, as predictions are made", _median(measured, "forward"), None, None, ""])
    return [*rows, ["  first steps and their compiling, s", result["first_steps_seconds"], None, None, ""]]


def _together(result: dict[str, Any]) -> list[Row]:
    """Photos/s of so many trainings at once over those of one."""
    rows: list[Row] = [["{model} {height}x{width}, batch {batch}, at once".format(**result), None, None, None, ""]]
    alone: float = result["processes"]["1"]
    rows.append(["  one training, steps on a resident batch", alone, None, None, ""])
    words = {"processes": "processes", "mps": "under MPS", "streams": "on streams of one process"}
    for way, told in words.items():
        for number, rate in result.get(way, {}).items():
            if (way, number) != ("processes", "1"):
                rows.append([f"  {number} {told}", rate, alone, rate / alone, ""])
    return rows


def _end_to_end(part: dict[str, Any], parts: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Seconds in all, seconds that the photos cost at the rates of the same model (0: not measured), and the share in which
    the GPU was busy; None where a command is missing.
    """
    result, setting = part["result"], part["setting"]
    commands = result.get("commands", [])
    if len(commands) < part["commands"]:
        return None
    wall = sum(command["seconds"] for command in commands)
    busy = sum(command["busy"] * command["seconds"] for command in commands) / wall
    unknown = any(command["busy"] < 0 for command in commands)
    least = 0.0
    for other in parts.values():
        measured = other["result"].get("rates", {})
        if other["kind"] == "steps" and other["setting"] == setting and measured:
            least = result["trained"] / _median(measured, "ceiling")
            least += result["predicted"] / _median(measured, "forward")
    return {"wall": round(wall, 1), "least": round(least, 1), "busy": -1.0 if unknown else round(busy, 3)}


def _title(what: str, result: dict[str, Any]) -> Row:
    return [f"{what}: {result['model']} {result['height']}x{result['width']}", None, None, None, ""]


def _compared(words: str, rates: dict[str, list[float]], what: str, against: str, goal: str) -> Row:
    return [words, _median(rates, what), _median(rates, against), ratio(rates, what, against), goal]


def _median(rates: dict[str, list[float]], name: str) -> float:
    return float(statistics.median(rates[name]))
