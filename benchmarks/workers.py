"""What the benchmark measures, each in a process of its own, which `bench.py` starts.

    python benchmarks/workers.py '["ours", 2, "right-sized", 250]'

Prints what it found as a line of JSON. Each worker imports what it needs, so that the peer's
processes never see slmlab; where slmlab is used, its import comes first, because it sets how
PyTorch loads.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

VOCABULARIES = ("gpt2", "right-sized")
BATCHES = 64  # different batches that the peer gets; it starts over after them
NEW_TOKENS = 16  # the last ones of a context, of which they are half at most
GENERATED = [(number, vocabulary) for number in range(5) for vocabulary in VOCABULARIES]


def prepare(folder: str) -> dict:
    """Write what the peer's processes need: settings, batches, weights to generate with."""
    import slmlab as lab

    # isort: split
    import numpy as np
    import torch
    import transformers

    from slmlab.engine.environment import environment

    for phase in lab.PHASES:
        dataset, shape, training = phase.dataset(), phase.setup.shape, phase.setup.training
        path = Path(folder) / str(phase.number)
        settings = {
            "model": {
                "vocab_size": dataset.tokenizer.n_vocab,
                "n_positions": shape.block_size,
                "n_layer": shape.n_layer,
                "n_head": shape.n_head,
                "n_embd": shape.n_embd,
            },
            "learning_rate": training.learning_rate,
            "grad_clip": training.grad_clip,
        }
        path.with_suffix(".json").write_text(json.dumps(settings))
        size = (training.batch_size, shape.block_size)
        batches = [torch.stack(dataset.batch(*size, seed)) for seed in range(1, BATCHES + 1)]
        np.save(path.with_suffix(".npy"), torch.stack(batches).numpy())
    for number, vocabulary in GENERATED:
        theirs = lab.to_huggingface(_generator(number, vocabulary))
        theirs.save_pretrained(Path(folder) / _key(number, vocabulary))
    here = environment() | {"transformers": transformers.__version__}
    return {
        "processor": f"{here['processor']}, {os.cpu_count()} cores, {here['system']}",
        **{name: here[name] for name in ("threads", "python", "torch", "transformers")},
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
    config = model.config
    batch_size = lab.PHASES[number].setup.training.batch_size
    gflop = batch_size * config.block_size * _flops(config) / 1e9
    timing = _time_steps(partial(next, progress), steps)
    return timing | {"gflop": gflop, "vocab_size": config.vocab_size}


def mixed(number: int, steps: int) -> dict:
    """Our loop in fp32 and in bf16, a step of each in turn, and the losses that they come to.

    Nothing on a processor without fast products of bf16 numbers.
    """
    loops = {precision: _fit(number, "gpt2", precision)[0] for precision in ("fp32", "bf16")}
    try:
        for progress in loops.values():
            next(progress)  # step 0
    except ValueError:
        return {}
    found: dict[str, list[tuple[float, float]]] = {precision: [] for precision in loops}
    for _ in range(steps):
        for precision, progress in loops.items():
            began = time.perf_counter()
            loss = next(progress).batch_loss
            found[precision].append((time.perf_counter() - began, loss))
    warm_up = max(2, steps // 4)
    ms = {name: 1000 * median(s for s, _ in taken[warm_up:]) for name, taken in found.items()}
    return {
        "steps": steps,
        "ratio": ms["fp32"] / ms["bf16"],
        **{f"{name}_ms": ms[name] for name in loops},
        **{f"{name}_loss": found[name][-1][1] for name in loops},
    }


def experts(number: int, steps: int) -> dict:
    """Our loop with 2 of 8 experts, and the dense one of equal active size, a step of each in turn.

    Ratios are the median of those of two steps right after each other.
    """
    loops = [_fit(number, "right-sized", with_experts=w)[0] for w in (False, True)]
    for progress in loops:
        next(progress)  # step 0
    taken = []  # by each loop, in seconds and in seconds of the processor
    for _ in range(max(2, steps // 4) + steps):
        began = [(time.perf_counter(), time.process_time())]
        for progress in loops:
            next(progress)
            began.append((time.perf_counter(), time.process_time()))
        taken.append([[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(began)])
    taken = taken[-steps:]  # those before are the warm-up
    return {
        "dense_ms": 1000 * median(dense[0] for dense, _ in taken),
        "experts_ms": 1000 * median(sparse[0] for _, sparse in taken),
        "ratio": median(sparse[0] / dense[0] for dense, sparse in taken),
        "cpu_ratio": median(sparse[1] / dense[1] for dense, sparse in taken),
    }


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
    dataset, model, config = phase.dataset(), phase.model(), phase.setup.training
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


def generate_ours(number: int, repeats: int) -> dict:
    """A phase's greedy text up to a full context, with a key/value cache and without."""
    import slmlab as lab

    greedy = lab.Decoding(temperature=0)

    def text(model: "lab.GPT", use_cache: bool, prompt: list[int], new: int) -> list[int]:
        return list(lab.generate_tokens(model, prompt, new, greedy, use_cache=use_cache))

    results = {}
    for generated in _generated(number):
        model = _generator(*generated)
        block = model.config.block_size
        results[_key(*generated)] = _time_texts(partial(text, model), block, repeats)
    return results


def generate_peer(number: int, folder: str, repeats: int) -> dict:
    """The same texts by Hugging Face's `generate`, with the same weights."""
    import torch
    from transformers import GPT2LMHeadModel

    def text(model: GPT2LMHeadModel, use_cache: bool, prompt: list[int], new: int) -> list[int]:
        given = torch.tensor([prompt])
        output = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=new,
            do_sample=False,
            use_cache=use_cache,
        )
        return output[0, len(prompt) :].tolist()

    results = {}
    for key in (_key(*generated) for generated in _generated(number)):
        model = GPT2LMHeadModel.from_pretrained(Path(folder) / key).eval()
        results[key] = _time_texts(partial(text, model), model.config.n_positions, repeats)
    return results


def _generated(number: int) -> list[tuple[int, str]]:
    """The models of a phase that write."""
    return [generated for generated in GENERATED if generated[0] == number]


def _fit(
    number: int, vocabulary: str, precision: str = "fp32", with_experts: bool = False
) -> tuple[Iterator, object]:
    """Our loop for a phase, without an end and without evaluations after step 0; its model."""
    import warnings
    from dataclasses import replace

    import slmlab as lab
    from slmlab.engine.training import VocabularyWarning

    warnings.simplefilter("ignore", VocabularyWarning)
    phase = lab.PHASES[number]
    dataset = phase.dataset(vocabulary)
    model = phase.model(dataset.tokenizer.n_vocab)
    if with_experts:
        model = lab.GPT(lab.ExpertConfig(**vars(model.config), n_expert=8, n_active=2))
    endless = {"max_steps": 10**9, "eval_interval": 10**9}
    config = replace(phase.setup.training, **endless, device="cpu", precision=precision)
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


def _time_texts(
    text: Callable[[bool, list[int], int], list[int]], block_size: int, repeats: int
) -> dict:
    """Tokens a second at the end of the context, with and without a cache, and the tokens.

    The first new token takes reading the prompt as well, so its time is taken off.
    """
    results = {}
    count = min(NEW_TOKENS, block_size // 2)
    prompt = [7 * i % 250 for i in range(block_size - count)]
    for name, use_cache in (("cached", True), ("recomputed", False)):
        tokens = text(use_cache, prompt, count)  # warm-up
        taken = []
        for _ in range(5 * repeats):
            first, every = (_seconds(partial(text, use_cache, prompt, n)) for n in (1, count))
            taken.append(every - first)
        results[name] = {"rate": (count - 1) / median(taken), "tokens": tokens}
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


ALL = (prepare, gemm, ours, mixed, experts, peer, parity, generate_ours, generate_peer)
WORKERS = {worker.__name__: worker for worker in ALL}


if __name__ == "__main__":
    name, *arguments = json.loads(sys.argv[1])
    print(json.dumps(WORKERS[name](*arguments)))
