"""The evidential loss: by hand, by a naive loop, by torch's own Dirichlet distribution."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import digamma, gammaln
from torch.distributions import Dirichlet, kl_divergence

from ringlight.errors import ConfigError, DataError
from ringlight.losses import CrossEntropy, Evidential
from ringlight.losses.evidential import kl_to_uniform

ALPHA = 1 + 5 * torch.rand(6, 3, generator=torch.Generator().manual_seed(3))
LOGITS = ALPHA.log()
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0])
FORMS = ("log", "digamma", "mse")


def naive(form: str, share: float) -> list[float]:
    losses = []
    for alpha, true in zip(ALPHA.double().tolist(), CLASSES.tolist(), strict=True):
        total, loss = sum(alpha), 0.0
        for k, value in enumerate(alpha):
            y, p = float(k == true), value / total
            if form == "log":
                loss += y * (math.log(total) - math.log(value))
            elif form == "digamma":
                loss += y * (digamma(total) - digamma(value))
            else:
                loss += (y - p) ** 2 + p * (1 - p) / (total + 1)
        others = [1.0 if k == true else value for k, value in enumerate(alpha)]
        rest = sum(others)
        penalty = gammaln(rest) - gammaln(3) - sum(gammaln(value) for value in others)
        penalty += sum((value - 1) * (digamma(value) - digamma(rest)) for value in others)
        losses.append(loss + share * penalty)
    return losses


@pytest.mark.parametrize("form", FORMS)
def test_it_equals_a_naive_loop_with_the_penalty_as_it_sets_in(form: str) -> None:
    loss = Evidential(3, form=form, kl_weight=2.0, annealing_epochs=8, reduction="none")
    for epoch, share in ((0, 0.0), (2, 0.5), (8, 2.0), (50, 2.0)):
        loss.set_progress(epoch, 60)
        assert loss(LOGITS, CLASSES).tolist() == pytest.approx(naive(form, share), rel=1e-5)


def test_the_penalty_is_torchs_divergence_and_nothing_without_evidence() -> None:
    torch.testing.assert_close(kl_to_uniform(ALPHA), kl_divergence(Dirichlet(ALPHA), Dirichlet(torch.ones(6, 3))))
    assert kl_to_uniform(torch.ones(1, 4)).abs().item() < 1e-5


def test_the_data_terms_are_what_they_say_under_torchs_dirichlet() -> None:
    """Equation 3 is the cross-entropy of the expected probabilities, 4 an expected one, 5 an expected squared error."""
    dirichlet = Dirichlet(ALPHA.double())
    truth = torch.eye(3, dtype=torch.float64)[CLASSES]
    squared = ((truth - dirichlet.mean).square() + dirichlet.variance).sum(dim=1)
    told = Evidential(3, form="mse", reduction="none")(LOGITS, CLASSES)
    torch.testing.assert_close(told, squared.float())
    torch.testing.assert_close(Evidential(3, form="log")(LOGITS, CLASSES), CrossEntropy(3)(LOGITS, CLASSES))
    torch.manual_seed(0)
    drawn = dirichlet.sample((20_000,)).log().mean(dim=0)
    expected = -drawn.gather(1, CLASSES[:, None])[:, 0].float()
    told = Evidential(3, form="digamma", reduction="none")(LOGITS, CLASSES)
    torch.testing.assert_close(told, expected, rtol=0.05, atol=0.01)


def test_evidence_for_a_wrong_class_costs_more_and_more_and_that_for_the_true_one_nothing() -> None:
    loss = Evidential(3, form="log")
    right, wrong = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    before = [float(loss(logits, torch.tensor([0]))) for logits in (right, wrong)]
    loss.set_progress(5, 20)
    after = [float(loss(logits, torch.tensor([0]))) for logits in (right, wrong)]
    assert after[0] == pytest.approx(before[0])
    assert after[1] > before[1] + 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_form_is_finite_for_extreme_logits(form: str, dtype: torch.dtype) -> None:
    loss = Evidential(3, form=form)
    loss.set_progress(10, 20)
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 0.0, 1e4], [-1e4, 0.0, 1.0]], dtype=dtype).requires_grad_()
    value = loss(logits, torch.tensor([0, 0, 1]))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_bad_numbers_and_targets_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Evidential(3, annealing_epochs=0)
    assert str(caught.value) == ("loss.annealing_epochs: expected a number of 1 or more, got 0; correct the value")
    with pytest.raises(DataError, match=r"loss: expected logits \(B, 3\) and targets of \(B,\) class indices, got"):
        Evidential(3)(LOGITS, torch.eye(3)[CLASSES])
