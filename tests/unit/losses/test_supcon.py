"""Contrastive losses: by hand, by a naive loop, by pytorch-metric-learning; over two processes as in one."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from ringlight.errors import ConfigError, DataError, TrainingError
from ringlight.losses import CONTRASTIVE, NTXent, SupCon

EMBEDDINGS = torch.randn(10, 4, generator=torch.Generator().manual_seed(6)) * 3
LABELS = torch.tensor([0, 1, 0, 1, 2, 2, 2, 0, 5, 9])  # 5 and 9 are alone


def similarities(embeddings: Tensor) -> list[list[float]]:
    rows = embeddings.double().tolist()
    lengths = [math.sqrt(sum(value * value for value in row)) for row in rows]
    return [
        [sum(a * b for a, b in zip(x, y, strict=True)) / m / n for y, n in zip(rows, lengths, strict=True)]
        for x, m in zip(rows, lengths, strict=True)
    ]


def naive_supcon(embeddings: Tensor, labels: list[int], temperature: float) -> float:
    scores, terms = similarities(embeddings), []
    for i, own in enumerate(labels):
        positives = [p for p, label in enumerate(labels) if label == own and p != i]
        if not positives:
            continue
        total = sum(math.exp(scores[i][a] / temperature) for a in range(len(labels)) if a != i)
        terms.append(-sum(math.log(math.exp(scores[i][p] / temperature) / total) for p in positives) / len(positives))
    return sum(terms) / len(terms)


def naive_nt_xent(embeddings: Tensor, labels: list[int], temperature: float) -> float:
    scores, terms = similarities(embeddings), []
    for i, own in enumerate(labels):
        negatives = sum(math.exp(scores[i][n] / temperature) for n, label in enumerate(labels) if label != own)
        for p, label in enumerate(labels):
            if label == own and p != i:
                positive = math.exp(scores[i][p] / temperature)
                terms.append(-math.log(positive / (positive + negatives)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_they_equal_a_naive_loop(temperature: float) -> None:
    labels = LABELS.tolist()
    supcon, nt_xent = SupCon(temperature)(EMBEDDINGS, LABELS), NTXent(temperature)(EMBEDDINGS, LABELS)
    assert float(supcon) == pytest.approx(naive_supcon(EMBEDDINGS, labels, temperature), rel=1e-5)
    assert float(nt_xent) == pytest.approx(naive_nt_xent(EMBEDDINGS, labels, temperature), rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("supcon", "SupConLoss"), ("nt_xent", "NTXentLoss")])
def test_they_equal_pytorch_metric_learning_loss_and_gradient(name: str, kind: str) -> None:
    from pytorch_metric_learning import losses as library

    own, other = (EMBEDDINGS.clone().requires_grad_() for _ in range(2))
    loss = CONTRASTIVE.build(name, temperature=0.2)(own, LABELS)
    expected = getattr(library, kind)(temperature=0.2)(other, LABELS)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_two_views_of_records_are_simclrs_cross_entropy_over_the_others() -> None:
    """SimCLR's own code: for each view, cross-entropy over all others with its twin as the class."""
    views = F.normalize(EMBEDDINGS, dim=1)
    scores = (views @ views.T / 0.5).fill_diagonal_(-torch.inf)
    twins = torch.arange(10).roll(5)
    expected = F.cross_entropy(scores, twins)
    records = torch.arange(5).repeat(2)
    torch.testing.assert_close(NTXent(0.5)(EMBEDDINGS, records), expected)
    torch.testing.assert_close(SupCon(0.5)(EMBEDDINGS, records), expected)


def test_an_anchor_that_is_as_it_should_be_counts_in_the_mean() -> None:
    """pytorch-metric-learning averages over losses above zero: one good pair beside one bad would change nothing."""
    pairs = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    loss = SupCon(0.005)(pairs, torch.tensor([0, 0, 1, 1]))
    assert float(loss) == pytest.approx(math.log(3) / 2, rel=1e-5), "two anchors of 0, two of log 3"


@pytest.mark.parametrize("name", list(CONTRASTIVE))
def test_neither_order_nor_length_of_the_embeddings_matters(name: str) -> None:
    loss = CONTRASTIVE.build(name, temperature=0.1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    before = loss(EMBEDDINGS, LABELS)
    torch.testing.assert_close(loss(EMBEDDINGS[order] * torch.arange(1, 11)[:, None], LABELS[order]), before)


@pytest.mark.parametrize("name", list(CONTRASTIVE))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_float32_and_finite_for_equal_opposite_and_missing_embeddings(name: str, dtype: torch.dtype) -> None:
    rows = torch.stack([EMBEDDINGS[0], EMBEDDINGS[0], -EMBEDDINGS[0], torch.zeros(4), EMBEDDINGS[1] * 1e-4])
    embeddings = rows.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = CONTRASTIVE.build(name, temperature=0.01)(embeddings, torch.tensor([0, 1, 0, 1, 1]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()


# --- several processes ------------------------------------------------------------------------------------------------

WORKER = """
import sys, torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from ringlight.losses import CONTRASTIVE

rank, meeting, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
given = torch.load(folder + "/given.pt")
for name in ("supcon", "nt_xent"):
    layer = torch.nn.Linear(4, 3)
    layer.load_state_dict(given["layer"])
    model = DistributedDataParallel(layer)
    loss = CONTRASTIVE.build(name, temperature=0.1)(model(given["inputs"][rank::2]), given["labels"][rank::2])
    loss.backward()
    torch.save({"loss": loss.detach(), "gradient": layer.weight.grad}, f"{folder}/{name}-{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    # A pair of each label in different processes, so that each alone would have none.
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    torch.save({"layer": layer.state_dict(), "inputs": EMBEDDINGS[:8], "labels": labels}, tmp_path / "given.pt")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), f"file://{tmp_path}/meeting", str(tmp_path)],
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    for name in CONTRASTIVE:
        layer.zero_grad()
        whole = CONTRASTIVE.build(name, temperature=0.1)(layer(EMBEDDINGS[:8]), labels)
        whole.backward()
        for rank in range(2):
            told = torch.load(tmp_path / f"{name}-{rank}.pt")
            torch.testing.assert_close(told["loss"], whole.detach())
            torch.testing.assert_close(told["gradient"], layer.weight.grad)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CONTRASTIVE))
def test_a_batch_without_a_pair_is_refused(name: str) -> None:
    loss = CONTRASTIVE.build(name, temperature=0.1)
    with pytest.raises(TrainingError) as caught:
        loss(EMBEDDINGS, torch.arange(10))
    assert str(caught.value) == (
        f"contrastive `{name}`: expected two embeddings of one label or more in every batch, got 10, each of a label "
        "of its own; take two views of each image or more (supcon.num_views=2), or sampler=class_pairs"
    )


@pytest.mark.parametrize("name", list(CONTRASTIVE))
def test_a_batch_of_one_label_counts_nothing_and_does_not_end_the_run(name: str) -> None:
    """Chance puts one class alone into a small batch, above all into the last of an epoch: a run once ended there."""
    embeddings = EMBEDDINGS.clone().requires_grad_()
    loss = CONTRASTIVE.build(name, temperature=0.1)(embeddings, torch.zeros(10, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


def test_a_temperature_or_labels_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        SupCon(0.0)
    assert str(caught.value) == "contrastive.temperature: expected a number above 0, got 0; correct the value"
    with pytest.raises(DataError) as refused:
        SupCon()(EMBEDDINGS, torch.zeros(10, 3))
    assert str(refused.value) == (
        "contrastive `supcon`: expected embeddings (N, D) and a whole number each, (N,), got embeddings (10, 4), "
        "labels (10, 3) of torch.float32; repeat each label once a view; of several classes an image, use nt_xent with "
        "rows as labels"
    )
    assert CONTRASTIVE.problems("simclr", {"temperature": 1.0})
