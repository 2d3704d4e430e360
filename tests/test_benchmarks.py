"""The benchmark's workers run, and its files tell the same."""

import importlib.util
import json
from pathlib import Path

import pytest

from slmlab.study.forecast import measured_steps

FOLDER = Path(__file__).parent.parent / "benchmarks"


def script(name):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench, workers = script("bench"), script("workers")


@pytest.fixture(scope="module")
def results():
    return json.loads(bench.RESULTS.with_suffix(".json").read_text("utf-8"))


def test_the_tables_are_those_of_the_json(results):
    assert bench.tables(results) == bench.RESULTS.read_text("utf-8")


def test_the_package_carries_the_step_times_of_the_results(results):
    assert bench.STEP_TIMES.read_text("utf-8") == bench.as_json(bench.step_times(results))
    keys = {(step.phase, step.vocabulary) for step in measured_steps()}
    assert keys == {(number, name) for number in range(5) for name in ("gpt2", "right-sized")}


def test_a_busy_machine_is_named(results):
    assert "do not trust" not in bench.tables(results | {"load": 0.5})
    assert "Busy at the start (load 2.0)" in bench.tables(results | {"load": 2.0})


def test_bf16_has_a_row_where_it_is_fast(results):
    row = {"phase": 4, "steps": 20, "ratio": 1.25, "fp32_ms": 500, "bf16_ms": 400}
    row |= {"fp32_loss": 9.1, "bf16_loss": 9.2}
    told = bench.tables(results | {"mixed": [row]})
    assert "| 4 | 20 | 500.0 | 400.0 | 1.25 | 9.1000 | 9.2000 |" in told
    assert "times the speed of fp32, phase 4 | 1.25 | ≥ 1.30 | miss |" in told
    assert "bf16" not in bench.tables(results | {"mixed": []})


def test_experts_have_a_row_for_each_phase(results):
    def found(ratio):
        row = {"dense_ms": 100, "experts_ms": 100 * ratio, "ratio": ratio, "cpu_ratio": 1.5}
        return [row, row | {"ratio": 1.9}, row]

    rows = bench._expert_rows([found(ratio) for ratio in (1.25, 2.5, 1.75)])
    assert [(row["phase"], row["ratio"]) for row in rows] == [(2, 1.75), (3, 1.9), (4, 1.75)]
    told = bench.tables(results | {"experts": rows})
    assert "| 2 | 100.0 | 175.0 | 1.75 | 1.50 |" in told
    assert "times as long as dense, highest of 3 | 1.90 | ≤ 2.00 | pass |" in told
    older = {name: value for name, value in results.items() if name != "experts"}
    assert "experts" not in bench.tables(older)


def test_bf16_is_left_out_where_it_is_slow(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    assert workers.mixed(1, 4) == {}


def test_generation_is_compared_model_by_model():
    def found(rate, tokens):
        ways = {"cached": {"rate": rate, "tokens": tokens}}
        return {"4, gpt2": ways | {"recomputed": {"rate": 10, "tokens": tokens}}}

    rounds = [(found(rate, [1, 2]), found(50, [1, 2])) for rate in (80, 100, 120)]
    [row] = bench._generation_rows(rounds)
    assert (row["ours_cached"], row["ratio"], row["gain"]) == (100, 2, 10)
    assert row["same"] and row["distinct"] == 2
    told = bench._target_table(bench._generation_targets([row, row | {"ratio": 0.97}]))
    assert "with the cache, lowest of 2 | 0.97 | ≥ 1.00 | miss |" in told
    assert "context of 128, lowest of 2 | 10.0 | ≥ 2.0 | pass |" in told
    assert not bench._generation_rows([*rounds, (found(9, [1, 3]), found(9, [1, 2]))])[0]["same"]


@pytest.mark.slow
def test_every_worker_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "GENERATED", [(2, "right-sized")])
    machine = workers.prepare(str(tmp_path))
    assert {"processor", "threads", "python", "torch", "transformers"} <= machine.keys()
    assert workers.gemm(1)["gflops"] > 0
    ours, peer = workers.ours(1, "gpt2", 2), workers.peer(1, str(tmp_path), 2)
    assert ours["vocab_size"] == 50257
    assert min(ours["ms"], ours["mb"], peer["ms"], peer["mb"]) > 0
    mixed = workers.mixed(1, 4)
    assert not mixed or mixed["bf16_loss"] == pytest.approx(mixed["fp32_loss"], abs=0.01)
    experts = workers.experts(1, 2)
    assert experts.keys() == {"dense_ms", "experts_ms", "ratio", "cpu_ratio"}
    assert min(experts.values()) > 0
    assert workers.parity(1, 3)["difference"] < 1e-4
    written = (
        *workers.generate_ours(2, 1).values(),
        *workers.generate_peer(2, str(tmp_path), 1).values(),
    )
    texts = [tuple(way["tokens"]) for model in written for way in model.values()]
    assert len(texts) == 4 and len(set(texts)) == 1
