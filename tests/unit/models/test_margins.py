"""The margin heads: by hand, by a naive loop in double precision, and by pytorch-metric-learning where it has them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from ringlight.errors import ConfigError, DataError
from ringlight.models.margins import (
    MARGINS,
    ArcFace,
    CurricularFace,
)

GENERATOR = torch.Generator().manual_seed(4)
EMBEDDINGS = torch.randn(12, 5, generator=GENERATOR) * torch.rand(12, 1, generator=GENERATOR) * 20
CLASSES = torch.randint(0, 4, (12,), generator=GENERATOR)


def built(name: str, **params: float) -> torch.nn.Module:
    torch.manual_seed(1)
    return MARGINS.build(name, in_features=5, out_features=4, **params)


def unit_cosines(head: torch.nn.Module, embeddings: Tensor = EMBEDDINGS) -> list[list[float]]:
    rows = []
    for x in embeddings.double().tolist():
        length = math.sqrt(sum(value * value for value in x))
        row = []
        for w in head.weight.double().tolist():
            dot = sum(a * b for a, b in zip(x, w, strict=True))
            row.append(dot / length / math.sqrt(sum(value * value for value in w)))
        rows.append(row)
    return rows


def arc(cosine: float, margin: float) -> float:
    angle = math.acos(cosine)
    return math.cos(angle + margin) if angle < math.pi - margin else cosine - margin * math.sin(margin)


def towards(head: torch.nn.Module, cosines: list[float]) -> Tensor:
    """Embeddings (B, 2) at these cosines to the first prototype of a head with prototypes (1, 0) and (0, 1)."""
    head.weight.data.copy_(torch.eye(2))
    return torch.tensor([[value, -math.sqrt(1 - value * value)] for value in cosines])


# --- a naive loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.2, 1.4])
def test_arcface_equals_a_naive_loop_beyond_pi_minus_m_too(margin: float) -> None:
    head = built("arcface", scale=20.0, margin=margin)
    expected = [
        [20 * (arc(cosine, margin) if k == int(true) else cosine) for k, cosine in enumerate(row)]
        for row, true in zip(unit_cosines(head), CLASSES, strict=True)
    ]
    torch.testing.assert_close(head(EMBEDDINGS, CLASSES), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    if margin > 1:
        beyond = [
            math.acos(row[int(true)]) > math.pi - margin for row, true in zip(unit_cosines(head), CLASSES, strict=True)
        ]
        assert any(beyond), "the fall-back was met"


def test_cosface_equals_a_naive_loop() -> None:
    head = built("cosface", scale=20.0, margin=0.3)
    expected = [
        [20 * (cosine - 0.3 * (k == int(true))) for k, cosine in enumerate(row)]
        for row, true in zip(unit_cosines(head), CLASSES, strict=True)
    ]
    torch.testing.assert_close(head(EMBEDDINGS, CLASSES), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_subcenters_equal_a_naive_loop_over_the_nearest() -> None:
    head = built("subcenter_arcface", scale=20.0, margin=0.3, num_centers=3)
    rows = [[max(row[3 * k : 3 * k + 3]) for k in range(4)] for row in unit_cosines(head)]
    expected = [
        [20 * (arc(cosine, 0.3) if k == int(true) else cosine) for k, cosine in enumerate(row)]
        for row, true in zip(rows, CLASSES, strict=True)
    ]
    torch.testing.assert_close(head(EMBEDDINGS, CLASSES), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head(EMBEDDINGS), 20 * torch.tensor(rows), rtol=1e-4, atol=1e-4)


def test_adaface_equals_a_naive_loop_over_three_batches() -> None:
    head = built("adaface", scale=20.0, margin=0.4, h=0.5, momentum=0.9)
    mean = std = 0.0
    for batch in range(3):
        embeddings, classes = EMBEDDINGS[4 * batch : 4 * batch + 4], CLASSES[4 * batch : 4 * batch + 4]
        lengths = [math.sqrt(sum(value * value for value in x)) for x in embeddings.double().tolist()]
        middle = sum(lengths) / 4
        spread = math.sqrt(sum((length - middle) ** 2 for length in lengths) / 3)
        mean = middle if batch == 0 else 0.9 * mean + 0.1 * middle
        std = spread if batch == 0 else 0.9 * std + 0.1 * spread
        expected = []
        for row, true, length in zip(unit_cosines(head, embeddings), classes.tolist(), lengths, strict=True):
            quality = min(1.0, max(-1.0, (length - mean) / (std / 0.5)))
            angle = min(math.pi, max(0.0, math.acos(row[true]) - 0.4 * quality))
            row[true] = math.cos(angle) - 0.4 * quality - 0.4
            expected.append([20 * value for value in row])
        torch.testing.assert_close(head(embeddings, classes), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_curricularface_equals_a_naive_loop_over_three_batches() -> None:
    head = built("curricularface", scale=20.0, margin=0.5, momentum=0.8)
    t, hard = 0.0, 0
    for batch in range(3):
        embeddings, classes = EMBEDDINGS[4 * batch : 4 * batch + 4], CLASSES[4 * batch : 4 * batch + 4].tolist()
        rows = unit_cosines(head, embeddings)
        t = 0.8 * t + 0.2 * sum(row[true] for row, true in zip(rows, classes, strict=True)) / 4
        expected = []
        for row, true in zip(rows, classes, strict=True):
            own = arc(row[true], 0.5)
            hard += sum(value > own for k, value in enumerate(row) if k != true)
            changed = [value * (t + value) if value > own else value for value in row]
            changed[true] = own
            expected.append([20 * value for value in changed])
        torch.testing.assert_close(
            head(embeddings, torch.tensor(classes)), torch.tensor(expected), rtol=1e-4, atol=1e-4
        )
    assert hard > 3
    assert float(head.t) == pytest.approx(t, rel=1e-5)


# --- another library --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arcface", "cosface", "subcenter_arcface"])
def test_it_equals_pytorch_metric_learning_loss_and_gradient(name: str) -> None:
    from pytorch_metric_learning import losses as library

    kind = {"arcface": "ArcFaceLoss", "cosface": "CosFaceLoss", "subcenter_arcface": "SubCenterArcFaceLoss"}[name]
    margin = 0.4
    theirs = getattr(library, kind)(
        num_classes=4, embedding_size=5, scale=20, margin=margin if name == "cosface" else math.degrees(margin)
    )
    head = built(name, scale=20.0, margin=margin)
    theirs.W.data.copy_(head.weight.data.T)
    own, other = (EMBEDDINGS.clone().requires_grad_() for _ in range(2))
    loss, expected = F.cross_entropy(head(own, CLASSES), CLASSES), theirs(other, CLASSES)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.weight.grad, theirs.W.grad.T, rtol=1e-4, atol=1e-5)


# --- special cases ----------------------------------------------------------------------------------------------------


def test_one_subcentre_is_arcface_and_adaface_at_the_ends_is_arcface_and_cosface() -> None:
    single = built("subcenter_arcface", margin=0.5, num_centers=1)
    plain = built("arcface", margin=0.5)
    assert torch.equal(single(EMBEDDINGS, CLASSES), plain(EMBEDDINGS, CLASSES))
    ada = built("adaface", margin=0.5).eval()
    ada.length_mean.fill_(1e6)  # every embedding is short: q = -1
    # Beyond pi - m the angle is cut to pi instead, as in the authors' code.
    inside = built("cosine", scale=1.0)(EMBEDDINGS).gather(1, CLASSES[:, None])[:, 0] > -math.cos(0.5)
    assert 6 < inside.sum() < 12
    torch.testing.assert_close(
        ada(EMBEDDINGS, CLASSES)[inside], plain(EMBEDDINGS, CLASSES)[inside], rtol=1e-4, atol=1e-4
    )
    ada.length_mean.fill_(0.0)
    ada.length_std.fill_(1e9)  # every embedding is as long as usual: q = 0
    torch.testing.assert_close(
        ada(EMBEDDINGS, CLASSES), built("cosface", margin=0.5)(EMBEDDINGS, CLASSES), rtol=1e-4, atol=1e-4
    )


def test_an_early_curriculum_makes_hard_negatives_lighter_and_a_late_one_heavier() -> None:
    """A negative at cosine 0.8 beside a true class at 0.6: 0.64 at t = 0, its own 0.8 at t = 0.2, 1.44 at t = 1."""
    head = CurricularFace(2, 2, scale=1.0).eval()
    head.weight.data.copy_(torch.eye(2))
    for t, expected in ((0.0, 0.64), (0.2, 0.8), (1.0, 1.44)):
        head.t.fill_(t)
        told = head(torch.tensor([[3.0, 4.0]]), torch.tensor([0])).tolist()
        assert told[0] == pytest.approx([math.cos(math.acos(0.6) + 0.5), expected], abs=1e-4)


def test_the_logit_never_rises_as_the_embedding_turns_away_from_its_class() -> None:
    """cos(theta + m) alone rises again beyond pi - m."""
    head = ArcFace(2, 2, margin=0.5)
    embeddings = towards(head, [math.cos(math.pi * step / 200) for step in range(201)])
    own = head(embeddings, torch.zeros(201, dtype=torch.long))[:, 0]
    assert (own.diff() < 1e-4).all()


# --- running values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adaface", "curricularface"])
def test_running_values_follow_training_batches_with_targets_only_and_are_saved(name: str) -> None:
    head = built(name)
    fresh = {key: value.clone() for key, value in head.state_dict().items()}
    head.eval()(EMBEDDINGS, CLASSES)
    head.train()(EMBEDDINGS)
    assert all(torch.equal(value, fresh[key]) for key, value in head.state_dict().items())
    head(EMBEDDINGS, CLASSES)
    changed = {key for key, value in head.state_dict().items() if not torch.equal(value, fresh[key])}
    assert changed == ({"t"} if name == "curricularface" else {"length_mean", "length_std", "num_batches"})
    twin = built(name)
    twin.load_state_dict(head.state_dict())
    assert torch.equal(twin.eval()(EMBEDDINGS, CLASSES), head.eval()(EMBEDDINGS, CLASSES))


def test_a_batch_of_one_has_no_deviation_and_does_not_spoil_it() -> None:
    """torch's deviation of one value is NaN, with a warning: the running one would stay NaN for good."""
    head = built("adaface")
    assert torch.isfinite(head(EMBEDDINGS[:1], CLASSES[:1])).all()
    assert float(head.length_std) == 1.0
    assert float(head.length_mean) == pytest.approx(float(EMBEDDINGS[0].norm()))
    head(EMBEDDINGS, CLASSES)
    assert float(head.length_mean) == pytest.approx(float(EMBEDDINGS.norm(dim=1).mean())), (
        "the first real batch sets them"
    )


def test_a_second_pass_before_the_first_ones_backward_is_allowed() -> None:
    """Accumulated batches update running values in place while the graph of an earlier one still lives."""
    for name in ("adaface", "curricularface"):
        head = built(name)
        (head(EMBEDDINGS, CLASSES).sum() + head(EMBEDDINGS * 2, CLASSES).sum()).backward()
        assert torch.isfinite(head.weight.grad).all()


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("cosine", {"scale": 0.0}, "margin.scale: expected a number above 0, got 0; correct the value"),
        ("arcface", {"scale": math.inf}, "margin.scale: expected a number above 0, got inf; correct the value"),
        ("arcface", {"margin": 1.6}, "margin.margin: expected a number from 0 to 1.5708, got 1.6; correct the value"),
        ("cosface", {"margin": -0.1}, "margin.margin: expected a number from 0 to 1, got -0.1; correct the value"),
        ("adaface", {"h": 0.0}, "margin.h: expected a number from 0.001 to 1, got 0; correct the value"),
        ("adaface", {"momentum": 1.5}, "margin.momentum: expected a number from 0 to 1, got 1.5; correct the value"),
        (
            "subcenter_arcface",
            {"num_centers": 0},
            "margin.num_centers: expected a number from 1 to 1000, got 0; correct the value",
        ),
    ],
)
def test_a_number_out_of_range_is_refused(name: str, params: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(name, **params)
    assert str(caught.value) == message


def test_labels_of_several_classes_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError) as refused:
        built("arcface")(EMBEDDINGS, torch.zeros(12, 4))
    assert str(refused.value) == (
        "margin `arcface`: expected one class index an embedding, (B,): a margin needs the one true class, got targets "
        "(12, 4) of torch.float32 for embeddings (12, 5); use margin.head=linear or cosine for a multi-label task or "
        "blended labels"
    )


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        built("cosface")(torch.zeros(2, 3))
    assert str(caught.value) == (
        "margin `cosface`: expected embeddings (B, 5), got (2, 3); build the head for the width of the backbone's "
        "features"
    )


def test_an_unknown_head_gets_the_near_miss() -> None:
    assert MARGINS.problems("arcfase", {}) == [
        "margin.head: expected a known margin, got `arcfase`; did you mean `arcface`?"
    ]
