"""Speed and memory of SLM Lab, beside what a user would write instead.

    python benchmarks/bench.py            # prints the tables, writes results.md and results.json
    python benchmarks/bench.py --quick    # a smoke test: one round, few steps, no file
    python benchmarks/bench.py --generation  # text alone: ten models in turn with the peer, no file
    python benchmarks/bench.py --experts  # experts alone, in turn with dense models, no file

`benchmarks/README.md` says what is measured, and how. This process only starts those of
`workers.py`, one after the other, and makes tables of what they find: each measurement is a process
of its own, so that neither memory nor settings leak from one into the next.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

PHASES = range(5)
# Timed steps for phases 0–4, so that every process works for some seconds.
STEPS = {"gpt2": (6, 150, 40, 12, 6), "right-sized": (16, 600, 250, 100, 30)}
MIXED_PHASE, MIXED_STEPS = 4, 20  # whose steps are taken in bf16 as well, and how many
EXPERT_PHASES = range(2, 5)  # whose steps are taken with experts as well
PARITY_STEPS = 50
LONG = ("0,", "4,")  # phases with a context of 128 tokens; a cache gains little in a short one
BUSY = 0.5  # load average at the start above which the times are not to be trusted
WORKERS = Path(__file__).with_name("workers.py")
RESULTS = Path(__file__).with_name("results.md")  # and results.json, which it is made from
STEP_TIMES = Path(__file__).parent.parent / "data" / "benchmarks" / "steps.json"

Row = dict[str, Any]
Target = tuple[str, float, str, str, float]  # what, found, format, least (≥) or most (≤), bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke test: one round, few steps")
    parser.add_argument("--parity", action="store_true", help="compare losses in all five phases")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of measurements (3)")
    parser.add_argument("--out", type=Path, help="where to write the tables (results.md)")
    parser.add_argument("--generation", action="store_true", help="measure generation alone")
    parser.add_argument("--experts", action="store_true", help="measure experts alone")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    if options.generation:
        rows = _rounded(generation(options.quick, rounds))
        print(_target_table(_generation_targets(rows)), _texts_table(rows), sep="\n", end="")
        return
    if options.experts:
        rows = _rounded(_expert_rows([_experts(options.quick) for _ in range(rounds)]))
        print(_target_table(_expert_targets(rows)), *_experts_table(rows), sep="\n", end="")
        return
    results = measure(options.quick, rounds, options.parity)
    print(tables(results), end="")
    out = options.out or (None if options.quick else RESULTS)
    if out:
        _write(out.with_suffix(".json"), as_json(results))
        _write(out.with_suffix(".md"), tables(results))
    if out == RESULTS:
        _write(STEP_TIMES, as_json(step_times(results)))


def measure(quick: bool, rounds: int, all_parity: bool) -> dict[str, Any]:
    """Everything that the workers find, as results.json holds it."""
    load = os.getloadavg()[0]
    peaks, training, mixed, experts, texts = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        machine = _work("prepare", folder)
        for _ in range(rounds):
            peaks.append(_work("gemm", 3 if quick else 9)["gflops"])
            training.append([_train(number, folder, quick, peaks[-1]) for number in PHASES])
            mixed.append(_work("mixed", MIXED_PHASE, 4 if quick else MIXED_STEPS))
            experts.append(_experts(quick))
            texts.append(_write_texts(folder, quick))
    compared = PHASES if all_parity else PHASES[1:2] if quick else PHASES[1:4]
    parity_steps = 5 if quick else PARITY_STEPS
    results = {
        "machine": machine,
        "rounds": rounds,
        "load": load,
        "gflops": median(peaks),
        "steps": [
            {"phase": number, "vocabulary": vocabulary}
            | _medians([phases[number][vocabulary] for phases in training])
            for vocabulary in STEPS
            for number in PHASES
        ],
        "mixed": [{"phase": MIXED_PHASE} | _medians(mixed)] if mixed[0] else [],
        "experts": _expert_rows(experts),
        "parity_steps": parity_steps,
        "parity": [{"phase": n} | _work("parity", n, parity_steps) for n in compared],
        "generation": _generation_rows(texts),
    }
    return _rounded(results)


def generation(quick: bool, rounds: int) -> list[Row]:
    """The rows of generation alone, as `measure` finds them."""
    with tempfile.TemporaryDirectory() as folder:
        _work("prepare", folder)
        return _generation_rows([_write_texts(folder, quick) for _ in range(rounds)])


def _work(name: str, *arguments: object) -> Row:
    """Run a worker in a process of its own; returns what it found."""
    print("…", name, *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, str(WORKERS), json.dumps([name, *arguments])]
    quiet = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


def _train(number: int, folder: str, quick: bool, gflops: float) -> dict[str, Row]:
    """A phase's three loops, one right after the other: a row for each of our vocabularies."""
    steps = {vocabulary: 2 if quick else counts[number] for vocabulary, counts in STEPS.items()}
    wide = _work("ours", number, "gpt2", steps["gpt2"])
    peer = _work("peer", number, folder, steps["gpt2"])
    narrow = _work("ours", number, "right-sized", steps["right-sized"])
    return {
        vocabulary: {
            "vocab_size": ours["vocab_size"],
            "ms": ours["ms"],
            "mb": ours["mb"],
            "ratio": peer["ms"] / ours["ms"],
            "share": 1000 * ours["gflop"] / ours["ms"] / gflops,
            "peer_ms": peer["ms"],
            "peer_mb": peer["mb"],
        }
        for vocabulary, ours in (("gpt2", wide), ("right-sized", narrow))
    }


def _experts(quick: bool) -> list[Row]:
    """A round of steps with experts, phase by phase."""
    steps = STEPS["right-sized"]
    return [_work("experts", number, 2 if quick else steps[number]) for number in EXPERT_PHASES]


def _expert_rows(rounds: list[list[Row]]) -> list[Row]:
    phases = zip(EXPERT_PHASES, zip(*rounds, strict=True), strict=True)
    return [{"phase": number, **_medians(list(found))} for number, found in phases]


def _write_texts(folder: str, quick: bool) -> tuple[Row, Row]:
    """A round of generation: what our models and the peer's write, phase by phase in turn."""
    ours: Row = {}
    peer: Row = {}
    repeats = 1 if quick else 3
    for number in PHASES[1::3] if quick else PHASES:
        ours |= _work("generate_ours", number, repeats)
        peer |= _work("generate_peer", number, folder, repeats)
    return ours, peer


def _generation_rows(rounds: list[tuple[Row, Row]]) -> list[Row]:
    """Medians of each model's tokens a second in four ways; whether all texts are the same."""
    rows = []
    for key in rounds[0][0]:
        rates, texts = [], []
        for ours, peer in rounds:
            ways = {"ours": ours[key], "peer": peer[key]}
            rate = {
                f"{who}_{how}": w["rate"] for who, way in ways.items() for how, w in way.items()
            }
            rate["gain"] = rate["ours_cached"] / rate["ours_recomputed"]
            rate["ratio"] = rate["ours_cached"] / rate["peer_cached"]
            rates.append(rate)
            texts += [tuple(w["tokens"]) for way in ways.values() for w in way.values()]
        same = len(set(texts)) == 1
        rows.append({"model": key, **_medians(rates), "same": same, "distinct": len(set(texts[0]))})
    return rows


def _medians(rounds: list[Row]) -> Row:
    return {key: median(done[key] for done in rounds) for key in rounds[0]}


def _rounded(found: Any) -> Any:
    """The same with six digits of each number: more than any of them deserves."""
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found


def step_times(results: dict[str, Any]) -> dict[str, Any]:
    """The part that the package carries: slmlab.study.forecast rests on it."""
    names = ("phase", "vocabulary", "vocab_size", "ms", "mb")
    steps = [{name: row[name] for name in names} for row in results["steps"]]
    return {"machine": results["machine"], "steps": steps}


def as_json(found: dict[str, Any]) -> str:
    """JSON with a line for each row of a table."""
    parts = []
    for key, value in found.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            parts.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def tables(results: dict[str, Any]) -> str:
    """The text of results.md."""
    machine, load = results["machine"], results["load"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "transformers"))
    busy = (
        f" **Busy at the start (load {load:.1f}): do not trust the times.**" if load > BUSY else ""
    )
    head = "| phase | vocabulary | ms | × peer | of GEMM peak | peak MB | peer ms | peer MB |"
    step = (
        "| {phase} | {vocab_size:,.0f} | {ms:,.1f} | {ratio:.2f} | {share:.0%} | {mb:,.0f} "
        "| {peer_ms:,.1f} | {peer_mb:,.0f} |"
    )
    parts = [
        "# Results of `make bench`\n",
        f"{machine['processor']}; {machine['threads']} threads; {versions}. Matrix products reach "
        f"{results['gflops']:.0f} GFLOP/s. Medians of {results['rounds']} rounds.{busy}\n",
        _targets(results),
        _table("A step, vocabulary of 50,257", head, step, _steps(results, "gpt2")),
        _table("A step, right-sized (not the peer)", head, step, _steps(results, "right-sized")),
        *_mixed(results),
        *_experts_table(results.get("experts", [])),  # older results have none
        _table(
            f"Losses of the first {results['parity_steps']} steps, beside a loop that holds all "
            "logits",
            "| phase | first | last | largest difference | of the plain loop, nudged |",
            "| {phase} | {first:.4f} | {last:.4f} | {difference:.1e} | {nudged:.1e} |",
            results["parity"],
        ),
        _texts_table(results["generation"]),
    ]
    return "\n".join(parts)


def _texts_table(rows: list[Row]) -> str:
    return _table(
        "Greedy text to the end of the context, tokens a second",
        "| phase, vocabulary | ours | ours, recomputed | peer | peer, recomputed "
        "| gain by cache | × peer | same text | distinct ids |",
        "| {model} | {ours_cached:,.0f} | {ours_recomputed:,.0f} | {peer_cached:,.0f} "
        "| {peer_recomputed:,.0f} | {gain:.1f} | {ratio:.2f} | {yes} | {distinct} |",
        [row | {"yes": "yes" if row["same"] else "no"} for row in rows],
    )


def _steps(results: dict[str, Any], vocabulary: str) -> list[Row]:
    return [row for row in results["steps"] if row["vocabulary"] == vocabulary]


def _mixed(results: dict[str, Any]) -> list[str]:
    """The table of bf16, where the processor has fast products of such numbers."""
    head = (
        "| phase | steps | fp32 ms | bf16 ms | times as fast | fp32, last loss | bf16, last loss |"
    )
    row = (
        "| {phase} | {steps:.0f} | {fp32_ms:,.1f} | {bf16_ms:,.1f} | {ratio:.2f} "
        "| {fp32_loss:.4f} | {bf16_loss:.4f} |"
    )
    found = results["mixed"]
    return [_table("A step in bf16, vocabulary of 50,257", head, row, found)] if found else []


def _experts_table(found: list[Row]) -> list[str]:
    head = "| phase | dense ms | experts ms | times as long | by processor time |"
    row = "| {phase} | {dense_ms:,.1f} | {experts_ms:,.1f} | {ratio:.2f} | {cpu_ratio:.2f} |"
    return [_table("A step with 2 of 8 experts, right-sized", head, row, found)] if found else []


def _targets(results: dict[str, Any]) -> str:
    wide, narrow = _steps(results, "gpt2"), _steps(results, "right-sized")
    speeds = [row["ratio"] for row in wide]
    twin = geometric_mean(row["ratio"] for row in narrow[1:])
    compared = ", ".join(str(row["phase"]) for row in results["parity"])
    difference = max(row["difference"] for row in results["parity"])
    full = "vocabulary of 50,257"
    rows: list[Target] = [
        (f"{full}: times the peer's speed, mean of five", geometric_mean(speeds), ".2f", "≥", 1.6),
        (f"{full}: times the peer's speed, lowest of five", min(speeds), ".2f", "≥", 1.0),
        (f"{full}: difference in loss, phases {compared}", difference, ".1e", "≤", 1e-3),
        (f"{full}: peak MB, highest", max(row["mb"] for row in wide), ",.0f", "≤", 1100),
        ("right-sized: times the peer's speed, mean of phases 1–4", twin, ".1f", "≥", 12),
        ("right-sized: share of GEMM peak, phase 4", narrow[4]["share"], ".0%", "≥", 0.55),
        ("right-sized: peak MB, highest", max(row["mb"] for row in narrow), ",.0f", "≤", 600),
        *_expert_targets(results.get("experts", [])),
        *_generation_targets(results["generation"]),
    ]
    for mixed in results["mixed"]:
        name = f"{full}: a step in bf16, times the speed of fp32, phase {mixed['phase']}"
        rows.insert(4, (name, mixed["ratio"], ".2f", "≥", 1.3))
    return _target_table(rows)


def _expert_targets(rows: list[Row]) -> list[Target]:
    what = (
        f"right-sized: a step with 2 of 8 experts, times as long as dense, highest of {len(rows)}"
    )
    return [(what, max(row["ratio"] for row in rows), ".2f", "≤", 2.0)] if rows else []


def _generation_targets(rows: list[Row]) -> list[Target]:
    ratio, same = min(row["ratio"] for row in rows), sum(row["same"] for row in rows)
    gains = [row["gain"] for row in rows if row["model"].startswith(LONG)]
    cached = f"generation: times the peer's speed with the cache, lowest of {len(rows)}"
    gained = f"generation: times as fast with a cache, context of 128, lowest of {len(gains)}"
    return [
        (cached, ratio, ".2f", "≥", 1.0),
        (gained, min(gains), ".1f", "≥", 2),
        ("generation: models with the same greedy text in every way", same, "d", "≥", len(rows)),
    ]


def _target_table(rows: list[Target]) -> str:
    targets = []
    for what, found, form, sign, bound in rows:
        met = found >= bound if sign == "≥" else found <= bound
        cells = {"what": what, "found": f"{found:{form}}", "bound": f"{sign} {bound:{form}}"}
        targets.append(cells | {"met": "pass" if met else "miss"})
    row = "| {what} | {found} | {bound} | {met} |"
    return _table("Targets", "| | found | target | |", row, targets)


def _table(title: str, header: str, row: str, found: list[Row]) -> str:
    """A Markdown table; `row` is the format of a row, filled with each of the things found."""
    line = "|---" + "|---:" * (header.count("|") - 2) + "|"
    return "\n".join([f"## {title}\n", header, line, *map(row.format_map, found), ""])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
