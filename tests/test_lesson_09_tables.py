"""The tables that exercises for 09 read are what these trainings give."""

import numpy as np
import pytest
import torch

from slmlab.engine.experts import routings
from slmlab.engine.training import fit
from slmlab.exercises import lesson_09_tables as tables
from slmlab.study.experiments.freezing import FREEZING
from slmlab.study.experiments.mixtures import MIXING, MIXTURES, model_of
from slmlab.study.freezing import Probe
from slmlab.study.routing import choices, load

pytestmark = pytest.mark.slow


def trained(name, steps, **changes):
    """The model at each step, and its texts."""
    [mixture] = [mixture for mixture in MIXTURES if mixture.name == name]
    setup = MIXING.setup(mixture, 0).replace(max_steps=steps, eval_interval=steps, **changes)
    dataset = setup.dataset(tested=False)
    model = model_of(mixture, setup, dataset.tokenizer.n_vocab)
    for now in fit(model, dataset, setup.training):
        yield now.step, model, dataset


def test_the_loads_are_those_of_a_training_without_balancing():
    *_, (_, model, dataset) = trained("8 experts, no balancing", 100, learning_rate=1e-3)
    found = load(choices(model, dataset.val), tables.EXPERTS)
    assert np.allclose(found, tables.loads(), atol=0.01)
    windows = [routings(model, ids) for ids in dataset.val.split(model.config.block_size)]
    for layer, expected in enumerate(tables.PROBABILITIES):
        mean = torch.cat([window[layer].probabilities[0] for window in windows]).mean(0)
        assert np.allclose(mean, expected, atol=0.01)


def test_the_drifts_are_those_of_a_training():
    probes = {}
    for step, model, dataset in trained("8 experts", 300):
        if step in (200, 280):
            probes[300 - step] = Probe(model, dataset.train[: FREEZING.probed_tokens])
    for interval, expected in tables.DRIFTS.items():
        assert np.allclose(probes[interval].drift()[-1], expected, rtol=0.03)


def test_rows_are_shares():
    assert np.allclose(tables.loads().sum(axis=1), 1, atol=5e-4)
    assert np.allclose(tables.probabilities().sum(axis=1), 1, atol=5e-4)
