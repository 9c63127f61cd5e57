"""Views of an image: what is flipped and turned, and what is averaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.errors import BundleError
from ringlight.inference.tta import VIEWS, Tta, averaged, mean_scores, num_views


def corner(images: torch.Tensor) -> np.ndarray:
    """Score of two classes: the upper left pixel, and a constant."""
    return torch.stack([images[:, 0, 0, 0], torch.full((len(images),), 0.5)], 1).numpy()


def test_one_view_is_the_plain_score_to_the_bit():
    images = torch.rand(3, 1, 4, 6)
    assert np.array_equal(averaged(corner, images, Tta(), "multiclass"), corner(images))


def test_eight_views_are_the_eight_symmetries_of_the_square():
    """By hand: a 2 x 2 image with four values; over all symmetries each value stands in the corner twice."""
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    seen = []
    averaged(lambda view: seen.append(view[0, 0].tolist()) or corner(view), image, Tta(runs=8), "multiclass")
    assert len({str(view) for view in seen}) == len(VIEWS) == 8
    assert sorted(view[0][0] for view in seen) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert averaged(corner, image, Tta(runs=8, space="logit"), "multiclass")[0, 0] == pytest.approx(2.5)


def test_an_image_that_is_not_square_is_never_turned_by_a_quarter():
    seen = []
    averaged(lambda view: seen.append(view.shape) or corner(view), torch.rand(1, 1, 2, 6), Tta(runs=8), "multiclass")
    assert seen == [torch.Size([1, 1, 2, 6])] * 4
    assert num_views(Tta(runs=2), 2, 6) == 2


def test_probabilities_are_averaged_as_an_ensemble_votes():
    """Two views of two classes, by hand: soft-max (0.8, 0.2) and (0.4, 0.6) have the mean (0.6, 0.4)."""
    logits = (
        np.log(np.array([[[0.8, 0.2]], [[0.4, 0.6]]], np.float32)) + np.array([3.0, 1.0], np.float32)[:, None, None]
    )
    mean = mean_scores(logits, "multiclass", "probability")
    assert np.exp(mean[0] - np.logaddexp(*mean[0])) == pytest.approx([0.6, 0.4], abs=1e-6)
    assert np.logaddexp(*mean[0]) == pytest.approx(2.0, abs=1e-6)  # the mean of the views' log-sum-exp, 3 and 1


def test_multilabel_scores_are_averaged_label_by_label_and_stay_finite():
    logits = np.array([[[0.0, 80.0]], [[np.log(3.0), 80.0]]], np.float32)  # sigmoid 1/2 and 3/4; and one that is 1
    mean = mean_scores(logits, "multilabel", "probability")
    assert 1 / (1 + np.exp(-mean[0, 0])) == pytest.approx(0.625, abs=1e-6)
    assert np.isfinite(mean).all()
    assert mean[0, 1] > 15


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_means_agree_with_torch(task: str):
    logits = np.random.default_rng(0).normal(0, 3, (5, 7, 4)).astype(np.float32)
    to_probability = nn.Softmax(-1) if task == "multiclass" else nn.Sigmoid()
    expected = to_probability(torch.tensor(logits)).mean(0)
    found = to_probability(torch.tensor(mean_scores(logits, task, "probability")))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert np.allclose(mean_scores(logits, task, "logit"), logits.mean(0), atol=1e-6)


def test_a_bundle_with_impossible_views_is_refused():
    assert Tta.from_dict({}, "b") == Tta()
    assert Tta.from_dict(Tta(runs=4, space="logit").to_dict(), "b") == Tta(runs=4, space="logit")
    with pytest.raises(BundleError, match="b: expected tta with runs from 1 to 8"):
        Tta.from_dict({"runs": 9}, "b")
