"""How fast the panels answer, and how far the Playground's forecast is off.

    python benchmarks/widgets.py

Writes widgets.md. Times are those of the kernel, from moving a control to the new readout, or from
Train to the first point; the browser's own milliseconds come on top.
"""

import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import slmlab as lab
from slmlab.study import setups
from slmlab.study.forecast import (
    forecast,
    machine_factor,
    measured_steps,
    reference_ms,
    step_costs,
)
from slmlab.study.setups import Setup
from slmlab.text.files import write_atomically

RESULTS = Path(__file__).with_name("widgets.md")
TARGETS = {  # milliseconds, in the median
    "Playground, a control moves": 50,
    "Playground, from Train to the first point": 1000,
}
MOVES = 200
POINTS = 20
STEPS = 30  # of a short training, to compare its speed with the forecast
TRIED = (
    "phase-1",
    "phase-2",
    "phase-3",
    "phase-4",
    "phase-0",
    "phase-2 vocabulary=gpt2",
    "phase-3 n_layer=8 n_embd=192 vocabulary=bpe-500",
    "phase-4 n_layer=1 block_size=32",
)


def main() -> None:
    parts = (answers(), forecasts(), fit_of_steps())
    text = "# Results of `python benchmarks/widgets.py`\n\n" + "\n".join(parts)
    print(text)
    write_atomically(RESULTS, text.encode())


def answers() -> str:
    """How long panels take to answer, as a table."""
    setups._dataset.cache_clear()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        panel = lab.Playground("phase-2 max_steps=3000", folder)
        rows["Playground, a control moves"] = moves(panel)
        made = setups._dataset.cache_info()
        panel.state.value = "phase-2 max_steps=3000"
        rows["Playground, from Train to the first point"] = [timed(lambda: first_point(panel))]
        rows["Playground, between two points"] = between_points(panel)
        rows["Playground, a control moves while it trains"] = moves(panel)
        rows["Playground, Stop"] = [timed(lambda: (panel.train.click(), panel.wait()))]
        run = panel.run
    scrubber = lab.Scrubber(lab.PHASES[3].recorded("right-sized"))
    steps = [value for _, value in scrubber.step.options[:-1]]
    rows["Scrubber, the slider moves"] = [
        timed(lambda step=step: setattr(scrubber.step, "value", step)) for step in steps
    ]
    explorer = lab.NextTokenExplorer(run)
    rows["Next-token explorer, temperature"] = [
        timed(lambda t=t: setattr(explorer.temperature, "value", t / 10)) for t in range(1, 20)
    ]
    lines = ["| what | times | median (ms) | slowest of 20 (ms) |", "|---|---:|---:|---:|"]
    for name, times in rows.items():
        slow = sorted(times)[int(0.95 * len(times))]
        lines.append(f"| {name} | {len(times)} | {statistics.median(times):,.0f} | {slow:,.0f} |")
    found = [
        f"Target: {name} in {limit:,} ms: {_met(rows[name], limit)}."
        for name, limit in TARGETS.items()
    ]
    found += [
        f"In the first {MOVES} moves {made.misses} datasets were made, and {made.hits} times one",
        "that was there already was used; the last 32 are kept.",
    ]
    return "\n".join(lines) + "\n\n" + " ".join(found) + "\n"


def _met(times: list[float], limit: float) -> str:
    return "pass" if statistics.median(times) < limit else "miss"


def first_point(panel: lab.Playground) -> None:
    """Press Train, and wait for the chart to show its first point."""
    panel.train.click()
    while not any(line["points"] for line in panel.curves.data["lines"]):
        time.sleep(0.005)


def between_points(panel: lab.Playground) -> list[float]:
    """Milliseconds between updates of the chart, of which the first ones may be evaluations."""
    times: list[float] = []
    panel.curves.observe(lambda _: times.append(1000 * time.perf_counter()), "data")
    while len(times) < POINTS:
        time.sleep(0.01)
    return [after - before for before, after in pairwise(times[:POINTS])]


def moves(panel: lab.Playground) -> list[float]:
    """Milliseconds of random moves of random controls, each within what can be trained."""
    chance, times = random.Random(0), []
    while len(times) < MOVES:
        control = panel.controls[chance.choice(list(panel.controls))]
        value = chance.choice([value for _, value in control.options])
        if value != control.value:
            times.append(timed(lambda c=control, v=value: setattr(c, "value", v)))
    return times


def forecasts() -> str:
    """Milliseconds of a step, forecast and measured."""
    lines = ["| set-up | forecast (ms a step) | measured | ratio |", "|---|---:|---:|---:|"]
    ratios = []
    for text in TRIED:
        machine_factor.cache_clear()
        setup = Setup.parse(text).replace(max_steps=STEPS, eval_interval=STEPS)
        ahead = forecast(setup)
        expected = 1000 * ahead.seconds / ahead.steps
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = lab.fit(setup.model(), setup.dataset(), setup.training)
            next(steps)
            times = [timed(lambda steps=steps: next(steps)) for _ in range(STEPS - 1)]
        measured = statistics.median(times)
        ratios.append(expected / measured)
        lines.append(f"| {text} | {expected:,.1f} | {measured:,.1f} | {ratios[-1]:.2f} |")
    return (
        "\n".join(lines) + "\n\nThe forecast rests on two short probes of the machine's speed just "
        f"before; the ratios run from {min(ratios):.2f} to {max(ratios):.2f}.\n"
    )


def fit_of_steps() -> str:
    """How the forecast's constants meet the step times that they are fitted to."""
    steps = measured_steps()
    ratios = [reference_ms(s.config, s.batch_size) / s.milliseconds for s in steps]
    return (
        f"Fitted to the {len(steps)} step times of data/benchmarks/steps.json, the forecast's "
        f"constants are ({', '.join(f'{cost:.3f}' for cost in step_costs())}); they meet the times "
        f"within factors of {min(ratios):.2f} to {max(ratios):.2f}.\n"
    )


def timed(task: Callable[[], object]) -> float:
    """Milliseconds that a piece of work takes."""
    began = time.perf_counter()
    task()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
