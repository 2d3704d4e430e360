"""Speed and memory of SLM Lab, beside what a user would write instead.

    python benchmarks/bench.py            # prints the tables, writes benchmarks/results.md
    python benchmarks/bench.py --quick    # a smoke test: one round, few steps, no file

`benchmarks/README.md` says what is measured, and how. This process only starts others, one after
the other, and reads the line of JSON that each of them prints: each measurement is a process of
its own, so that neither memory nor settings leak from one into the next.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median

PHASES = range(5)
VOCABULARIES = ("gpt2", "right-sized")
# Timed steps for phases 0–4, so that every process works for some seconds.
STEPS = {"gpt2": (6, 150, 40, 12, 6), "right-sized": (16, 600, 250, 100, 30)}
BATCHES = 64  # different batches that the peer gets; it starts over after them
PARITY_STEPS = 50
NEW_TOKENS = 16  # the last ones of a context of 128
# Generation: the widest model and the last one, both with a context of 128 tokens.
GENERATED = [(number, vocabulary) for number in (0, 4) for vocabulary in VOCABULARIES]
RESULTS = Path(__file__).with_name("results.md")


# The workers. Each imports what it needs, so that the peer's processes never see slmlab; where
# slmlab is used, its import comes first, because it sets how PyTorch loads.


def prepare(folder: str) -> dict:
    """Write what the peer's processes need: settings, batches, weights to generate with."""
    import slmlab as lab

    # isort: split
    import numpy as np
    import torch
    import transformers

    for phase in lab.PHASES:
        dataset, config = phase.dataset(), phase.training
        path = Path(folder) / str(phase.number)
        shape = dict(phase.shape)
        settings = {
            "model": {
                "vocab_size": dataset.tokenizer.n_vocab,
                "n_positions": shape.pop("block_size"),
                **shape,
            },
            "learning_rate": config.learning_rate,
            "grad_clip": config.grad_clip,
        }
        path.with_suffix(".json").write_text(json.dumps(settings))
        size = (config.batch_size, phase.shape["block_size"])
        batches = [torch.stack(dataset.batch(*size, seed)) for seed in range(1, BATCHES + 1)]
        np.save(path.with_suffix(".npy"), torch.stack(batches).numpy())
    for number, vocabulary in GENERATED:
        theirs = _generator(number, vocabulary).to_huggingface()
        theirs.save_pretrained(Path(folder) / _key(number, vocabulary))
    environment = lab.runs.environment() | {"transformers": transformers.__version__}
    versions = (f"{name} {environment[name]}" for name in ("python", "torch", "transformers"))
    return {
        "machine": f"{environment['processor']}, {os.cpu_count()} cores, {environment['system']}",
        "threads": environment["threads"],
        "versions": ", ".join(versions),
    }


def gemm(repeats: int) -> dict:
    """The most GFLOP/s that fp32 matrix products reach here, of several shapes."""
    import slmlab  # noqa: F401

    # isort: split
    import torch

    best = 0.0
    for m, k, n in ((512,) * 3, (1024,) * 3, (2048,) * 3, (3072,) * 3, (8192, 512, 512)):
        product = partial(torch.mm, torch.rand(m, k), torch.rand(k, n), out=torch.empty(m, n))
        seconds = [_seconds(product) for _ in range(repeats + 2)][2:]
        best = max(best, 2 * m * k * n / median(seconds) / 1e9)
    return {"gflops": best}


def ours(number: int, vocabulary: str, steps: int) -> dict:
    """Our loop with the published settings. The evaluation at step 0 comes before the timing."""
    import slmlab as lab

    progress, model = _fit(number, vocabulary)
    next(progress)  # step 0
    phase = lab.PHASES[number]
    gflop = phase.training.batch_size * phase.shape["block_size"] * _flops(model.config) / 1e9
    timing = _time_steps(partial(next, progress), steps)
    return timing | {"gflop": gflop, "vocab": model.config.vocab_size}


def peer(number: int, folder: str, steps: int) -> dict:
    """The plain loop around Hugging Face's model: all logits at once, AdamW as it comes."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from transformers import GPT2Config, GPT2LMHeadModel

    path = Path(folder) / str(number)
    settings = json.loads(path.with_suffix(".json").read_text())
    batches = torch.from_numpy(np.load(path.with_suffix(".npy")))
    config = GPT2Config(
        **settings["model"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,  # training has no use for a key/value cache, so spare the peer its cost
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"])
    taken = 0

    def step() -> None:
        nonlocal taken
        inputs, targets = batches[taken % len(batches)]
        taken += 1
        logits = model(input_ids=inputs).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["grad_clip"])
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return _time_steps(step, steps)


def parity(number: int, steps: int) -> dict:
    """The largest difference in loss between our loop and one that holds all logits at once.

    `nudged` is the difference of that plain loop from itself, with one weight changed in its last
    bit: what rounding alone can do.
    """
    progress, _ = _fit(number, "gpt2")
    next(progress)  # step 0
    ours = [next(progress).batch_loss for _ in range(steps)]
    plain = _plain_losses(number, steps)
    nudged = _plain_losses(number, steps, nudge=True)
    return {
        "first": ours[0],
        "last": ours[-1],
        "difference": max(abs(a - b) for a, b in zip(ours, plain, strict=True)),
        "nudged": max(abs(a - b) for a, b in zip(nudged, plain, strict=True)),
    }


def _plain_losses(number: int, steps: int, nudge: bool = False) -> list[float]:
    import slmlab as lab

    # isort: split
    import torch
    import torch.nn.functional as F

    phase = lab.PHASES[number]
    dataset, model, config = phase.dataset(), phase.model(), phase.training
    if nudge:
        with torch.no_grad():
            weight = model.blocks[0].mlp.fc.weight
            weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(1, steps + 1):
        inputs, targets = dataset.batch(config.batch_size, model.config.block_size, seed=step)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def generate_ours(repeats: int) -> dict:
    """Our greedy text up to a full context, with a key/value cache and without."""
    import slmlab as lab

    def text(model: "lab.GPT", use_cache: bool, new: int) -> list[int]:
        prompt = _prompt(model.config.block_size)
        return list(lab.generate_tokens(model, prompt, new, temperature=0, use_cache=use_cache))

    return {
        _key(*generated): _time_texts(partial(text, _generator(*generated)), repeats)
        for generated in GENERATED
    }


def generate_peer(folder: str, repeats: int) -> dict:
    """The same texts by Hugging Face's `generate`, with the same weights."""
    import torch
    from transformers import GPT2LMHeadModel

    def text(model: GPT2LMHeadModel, use_cache: bool, new: int) -> list[int]:
        prompt = torch.tensor([_prompt(model.config.n_positions)])
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=new,
            do_sample=False,
            use_cache=use_cache,
        )
        return output[0, prompt.shape[1] :].tolist()

    results = {}
    for key in (_key(*generated) for generated in GENERATED):
        model = GPT2LMHeadModel.from_pretrained(Path(folder) / key).eval()
        results[key] = _time_texts(partial(text, model), repeats)
    return results


def _fit(number: int, vocabulary: str) -> tuple[Iterator, object]:
    """Our loop for a phase, without an end and without evaluations after step 0; its model."""
    import warnings
    from dataclasses import replace

    import slmlab as lab

    warnings.simplefilter("ignore", lab.training.VocabularyWarning)
    phase = lab.PHASES[number]
    dataset = phase.dataset(vocabulary)
    model = phase.model(dataset.tokenizer.n_vocab)
    config = replace(phase.training, max_steps=10**9, eval_interval=10**9, device="cpu")
    return lab.fit(model, dataset, config), model


def _generator(number: int, vocabulary: str) -> object:
    """A phase's model with larger weights: as initialised, it would repeat one token for ever."""
    import slmlab as lab

    # isort: split
    import torch

    phase = lab.PHASES[number]
    model = phase.model(phase.dataset(vocabulary).tokenizer.n_vocab)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and not name.startswith("wte"):
                parameter.mul_(5)
    return model


def _key(number: int, vocabulary: str) -> str:
    return f"{number}, {vocabulary}"


def _flops(config) -> int:
    """Floating-point operations that training on one token takes, matrix products only.

    6 N + 12 L T C (Chowdhery et al. 2022, PaLM, appendix B; after Kaplan et al. 2020, table 1).
    Each weight of a matrix costs 2 operations forward and 4 backward. N = 12 L C² + V C is all
    matrices that a token meets: the output head counts, looking up embedding and position does
    not. 12 L T C is attention's products over the full T × T square, though half is masked.
    """
    L, C, T, V = config.n_layer, config.n_embd, config.block_size, config.vocab_size
    return 6 * (12 * L * C**2 + V * C) + 12 * L * T * C


def _time_steps(step: Callable[[], object], steps: int) -> dict:
    for _ in range(max(2, steps // 4)):  # warm-up
        step()
    return {"ms": 1000 * median(_seconds(step) for _ in range(steps)), "mb": _peak_memory()}


def _prompt(block_size: int) -> list[int]:
    """Ids that leave room for `NEW_TOKENS` in the context."""
    return [7 * i % 250 for i in range(block_size - NEW_TOKENS)]


def _time_texts(text: Callable[[bool, int], list[int]], repeats: int) -> dict:
    """Tokens a second at the end of the context, with and without a cache, and the tokens.

    The first new token takes reading the prompt as well, so its time is taken off.
    """
    results = {}
    for name, use_cache in (("cached", True), ("recomputed", False)):
        tokens = text(use_cache, NEW_TOKENS)  # warm-up
        first, all_of_them = (
            median(_seconds(partial(text, use_cache, new)) for _ in range(5 * repeats))
            for new in (1, NEW_TOKENS)
        )
        results[name] = {"rate": (NEW_TOKENS - 1) / (all_of_them - first), "tokens": tokens}
    return results


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_memory() -> float:
    """The most memory that this process has had resident, in MB of 1,000,000 bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


WORKERS = {f.__name__: f for f in (prepare, gemm, ours, peer, parity, generate_ours, generate_peer)}


# The parent starts the workers, and makes tables of what they say.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke test: one round, few steps")
    parser.add_argument("--parity", action="store_true", help="compare losses in all five phases")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of measurements (3)")
    parser.add_argument("--out", type=Path, help="where to write the tables (results.md)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, *arguments = json.loads(options.worker)
        print(json.dumps(WORKERS[name](*arguments)))
        return
    text = measure(options.quick, 1 if options.quick else options.rounds, options.parity)
    print(text, end="")
    out = options.out or (None if options.quick else RESULTS)
    if out:
        temporary = out.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out)


def measure(quick: bool, rounds: int, all_parity: bool) -> str:
    """Everything, as the text of results.md."""
    load = os.getloadavg()[0]
    repeats = 1 if quick else 3
    training, texts = [], []
    with tempfile.TemporaryDirectory() as folder:
        machine = _work("prepare", folder)
        for _ in range(rounds):
            gflops = _work("gemm", 3 * repeats)["gflops"]
            training.append([_train(number, folder, quick, gflops) for number in PHASES])
            texts.append((_work("generate_ours", repeats), _work("generate_peer", folder, repeats)))
    compared = PHASES if all_parity else PHASES[1:2] if quick else PHASES[1:4]
    steps = 5 if quick else PARITY_STEPS
    parities = [_work("parity", number, steps) | {"phase": number} for number in compared]
    phases = [_medians([done[n] for done in training]) | {"phase": n} for n in PHASES]
    generations = [_generation(key, texts) for key in texts[0][0]]
    busy = (
        f" **Busy at the start (load {load:.1f}): do not trust the times.**" if load > 0.5 else ""
    )
    loops = (
        "| {phase} | {x vocab:,.0f} | {x ms:,.1f} | {x ratio:.2f} | {x share:.0%} | {x mb:,.0f} "
    )
    loops += "| {peer ms:,.1f} | {peer mb:,.0f} |"
    head = "| phase | vocabulary | ms | × peer | of GEMM peak | peak MB | peer ms | peer MB |"
    parts = [
        "# Results of `make bench`\n",
        f"{machine['machine']}; {machine['threads']} threads; {machine['versions']}. Matrix "
        f"products reach {phases[0]['gflops']:.0f} GFLOP/s. Medians of {rounds} rounds.{busy}\n",
        _targets(phases, parities, generations),
        _table("A step, vocabulary of 50,257", head, loops.replace("x ", "gpt2 "), phases),
        _table("A step, right-sized (not the peer)", head, loops.replace("x ", "right "), phases),
        _table(
            f"Losses of the first {steps} steps, beside a loop that holds all logits",
            "| phase | first | last | largest difference | of the plain loop, nudged |",
            "| {phase} | {first:.4f} | {last:.4f} | {difference:.1e} | {nudged:.1e} |",
            parities,
        ),
        _table(
            "Greedy text at 128 tokens of context, tokens a second",
            "| phase, vocabulary | ours | ours, recomputed | peer | peer, recomputed "
            "| gain by cache | × peer | same text | distinct ids |",
            "| {key} | {ours cached:,.0f} | {ours recomputed:,.0f} | {peer cached:,.0f} "
            "| {peer recomputed:,.0f} | {gain:.1f} | {ratio:.1f} | {same} | {distinct} |",
            generations,
        ),
    ]
    return "\n".join(parts)


def _work(name: str, *arguments: object) -> dict:
    """Run a worker in a process of its own; returns what it found."""
    print("…", name, *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--worker", json.dumps([name, *arguments])]
    quiet = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


def _train(number: int, folder: str, quick: bool, gflops: float) -> dict[str, float]:
    """A phase's three loops, one right after the other, and their ratios."""
    steps = {vocabulary: 2 if quick else counts[number] for vocabulary, counts in STEPS.items()}
    loops = {
        "gpt2": _work("ours", number, "gpt2", steps["gpt2"]),
        "peer": _work("peer", number, folder, steps["gpt2"]),
        "right": _work("ours", number, "right-sized", steps["right-sized"]),
    }
    found = {f"{name} {key}": value for name, loop in loops.items() for key, value in loop.items()}
    for name in ("gpt2", "right"):
        found[f"{name} ratio"] = found["peer ms"] / found[f"{name} ms"]
        found[f"{name} share"] = 1000 * found[f"{name} gflop"] / found[f"{name} ms"] / gflops
    return found | {"gflops": gflops}


def _generation(key: str, rounds: list[tuple[dict, dict]]) -> dict:
    """Medians of one model's tokens a second in four ways; whether all texts are the same."""
    rates, texts = [], []
    for ours, peer in rounds:
        ways = {"ours": ours[key], "peer": peer[key]}
        rate = {f"{who} {how}": w["rate"] for who, way in ways.items() for how, w in way.items()}
        rate["gain"] = rate["ours cached"] / rate["ours recomputed"]
        rate["ratio"] = rate["ours cached"] / rate["peer cached"]
        rates.append(rate)
        texts += [tuple(w["tokens"]) for way in ways.values() for w in way.values()]
    same = "yes" if len(set(texts)) == 1 else "no"
    return _medians(rates) | {"key": key, "same": same, "distinct": len(set(texts[0]))}


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(done[key] for done in rounds) for key in rounds[0]}


def _targets(phases: list[dict], parities: list[dict], generations: list[dict]) -> str:
    wide, narrow = "vocabulary of 50,257", "right-sized"
    speed = [p["gpt2 ratio"] for p in phases]
    twin = geometric_mean(p["right ratio"] for p in phases[1:])
    difference = max(p["difference"] for p in parities)
    compared = ", ".join(str(p["phase"]) for p in parities)
    gain = min(g["gain"] for g in generations)
    same = sum(g["same"] == "yes" for g in generations)
    rows = [  # what, found, its format, the least (≥) or most (≤) it may be
        (f"{wide}: times the peer's speed, mean of five", geometric_mean(speed), ".2f", "≥", 1.6),
        (f"{wide}: times the peer's speed, lowest of five", min(speed), ".2f", "≥", 1.0),
        (f"{wide}: difference in loss, phases {compared}", difference, ".1e", "≤", 1e-3),
        (f"{wide}: peak MB, highest", max(p["gpt2 mb"] for p in phases), ",.0f", "≤", 1100),
        (f"{narrow}: times the peer's speed, mean of phases 1–4", twin, ".1f", "≥", 12),
        (f"{narrow}: share of GEMM peak, phase 4", phases[4]["right share"], ".0%", "≥", 0.55),
        (f"{narrow}: peak MB, highest", max(p["right mb"] for p in phases), ",.0f", "≤", 600),
        ("generation: times as fast with a cache, lowest of four", gain, ".1f", "≥", 5),
        ("generation: models with the same greedy text in every way", same, "d", "≥", 4),
    ]
    targets = []
    for what, found, form, sign, bound in rows:
        met = found >= bound if sign == "≥" else found <= bound
        cells = {"what": what, "found": f"{found:{form}}", "bound": f"{sign} {bound:{form}}"}
        targets.append(cells | {"met": "pass" if met else "miss"})
    row = "| {what} | {found} | {bound} | {met} |"
    return _table("Targets", "| | found | target | |", row, targets)


def _table(title: str, header: str, row: str, found: list[dict]) -> str:
    """A Markdown table; `row` is the format of a row, filled with each of the things found."""
    line = "|---" + "|---:" * (header.count("|") - 2) + "|"
    return "\n".join([f"## {title}\n", header, line, *map(row.format_map, found), ""])


if __name__ == "__main__":
    main()
