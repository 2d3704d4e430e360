"""Several models as one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.evaluation import strided_losses
from slmlab.study.distillation import ensemble_losses

MODELS = [lab.GPT(lab.GPTConfig(20, block, 1, 1, 8), seed=block).eval() for block in (4, 6, 9)]
with torch.no_grad():
    for one in MODELS:
        one.wte.weight *= 40  # so that they disagree


@given(ids=st.lists(st.integers(0, 19), min_size=2, max_size=40).map(torch.tensor))
def test_an_ensemble_is_the_mean_probability_of_its_members(ids):
    alone = torch.stack([strided_losses(model, ids) for model in MODELS])
    together = ensemble_losses(MODELS, ids)
    torch.testing.assert_close(together.exp(), 1 / alone.neg().exp().mean(0), rtol=1e-4, atol=1e-4)
    assert (together <= alone.mean(0) + 1e-4).all()
    assert torch.equal(ensemble_losses(MODELS[:1], ids), alone[0])


def test_members_of_different_vocabularies_are_refused():
    other = lab.GPT(lab.GPTConfig(21, 4, 1, 1, 8))
    for models in ([], [MODELS[0], other]):
        with pytest.raises(ValueError, match="at least one model, and all of one vocabulary"):
            ensemble_losses(models, torch.arange(5))
