"""What every sampler of the catalogue promises, run on each, for one label a record and for several."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, Sampler

import ringlight.data
from ringlight.data.sampling import SAMPLERS, ClassSampler, EpochSampler
from ringlight.data.sampling_views import ViewsSampler

SINGLE = np.repeat([0, 1, 3], [30, 9, 4])  # nobody carries class 2
SEVERAL = np.array([[1, 0, 0]] * 20 + [[1, 1, 0]] * 6 + [[0, 0, 1]] * 4 + [[0, 0, 0]] * 13, np.uint8)
FACTORS = np.where(np.arange(43) % 5 == 0, 4, 1)
N, CARDS = 43, int(FACTORS.sum())

pytestmark = [
    pytest.mark.parametrize("name", list(SAMPLERS)),
    pytest.mark.parametrize("task", ["multiclass", "multilabel"]),
]


def build(name: str, task: str, **arguments: object) -> EpochSampler:
    labels = SINGLE if task == "multiclass" else SEVERAL
    known = {"labels": labels, "task": task, "seed": 5, "batch_size": 8, "num_epochs": 6}
    return SAMPLERS.build(name, **{**known, **arguments})


def keys(sampler: EpochSampler, epoch: int = 0) -> list[tuple[int, int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("factors", [None, FACTORS])
def test_an_epoch_has_as_many_keys_as_the_deck_has_cards(name, task, factors):
    sampler = build(name, task, factors=factors)
    assert isinstance(sampler, Sampler)
    for epoch in range(7):
        assert len(keys(sampler, epoch)) == len(sampler) == (N if factors is None else CARDS)
    assert sampler.num_rows == N


@pytest.mark.parametrize("factors", [None, FACTORS])
def test_a_key_is_epoch_row_and_the_number_of_times_the_row_stood_before(name, task, factors):
    for epoch in (0, 3):
        seen: Counter[int] = Counter()
        for key in keys(build(name, task, factors=factors), epoch):
            assert all(type(part) is int for part in key)
            assert key[0] == epoch
            assert 0 <= key[1] < N
            assert key[2] == seen[key[1]]
            seen[key[1]] += 1


def test_the_order_depends_on_seed_and_epoch_alone(name, task):
    first = build(name, task)
    walked = [keys(first, epoch) for epoch in range(4)]
    assert keys(build(name, task), 2) == walked[2]  # a resumed run begins there
    assert keys(first, 1) == walked[1]
    assert keys(pickle.loads(pickle.dumps(first)), 3) == walked[3]
    assert keys(build(name, task, seed=6)) != walked[0]


def test_every_epoch_has_another_order(name, task):
    sampler = build(name, task)
    orders = {tuple(row for _, row, _ in keys(sampler, epoch)) for epoch in range(6)}
    assert len(orders) == 6


def test_an_iterator_keeps_the_epoch_it_began_with(name, task):
    sampler = build(name, task)
    expected = keys(sampler, 1)
    running = iter(sampler)
    begun = [next(running)]
    sampler.set_epoch(4)
    assert begun + list(running) == expected


@pytest.mark.parametrize("num_replicas", [2, 3, 4])
def test_ranks_see_disjoint_parts_of_one_order_equally_long(name, task, num_replicas):
    parts = [
        build(name, task, factors=FACTORS, num_replicas=num_replicas, rank=rank, batch_size=5)
        for rank in range(num_replicas)
    ]
    shown = [keys(part, 2) for part in parts]
    assert {len(one) for one in shown} == {len(part) for part in parts} == {-(-CARDS // num_replicas)}
    together = [key for one in shown for key in one]
    assert len(set(together)) == len(together)
    times = Counter(row for _, row, _ in together)
    assert {key[1:] for key in together} == {(row, copy) for row, count in times.items() for copy in range(count)}
    assert [part.rows(2).tolist() for part in parts] == [parts[0].rows(2).tolist()] * num_replicas
    assert Counter(parts[0].rows(2).tolist()) == times


def test_one_record_is_an_epoch(name, task):
    labels = np.array([0]) if task == "multiclass" else np.array([[0, 1]])
    assert keys(build(name, task, labels=labels)) == [(0, 0, 0)]
    assert keys(build(name, task, labels=labels, factors=[3])) == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]


def test_global_random_state_is_neither_used_nor_changed(name, task):
    np.random.seed(1)
    torch.manual_seed(1)
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = keys(build(name, task))
    assert (np.random.get_state()[1] == before).all()
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.random.seed(2)
    assert keys(build(name, task)) == first


def test_a_torch_loader_cuts_its_keys_into_batches(name, task):
    class Echo(torch.utils.data.Dataset):
        def __getitem__(self, key):
            return key

    sampler = build(name, task)
    loader = DataLoader(Echo(), batch_size=8, sampler=sampler, collate_fn=list)
    assert [key for batch in loader for key in batch] == list(sampler)
    assert [len(batch) for batch in loader] == [8] * 5 + [3]


def test_it_ships_as_a_configuration_that_the_catalogue_accepts(name, task):
    content = yaml.safe_load((files("ringlight") / "configs" / "sampler" / f"{name}.yaml").read_text("utf-8"))
    assert content.pop("name") == name
    assert SAMPLERS.problems(name, content) == []
    assert {parameter.name for parameter in SAMPLERS.parameters(name)} == set(content)


def test_nothing_public_is_missing_from_the_catalogue(name, task):
    found = set()
    for info in pkgutil.iter_modules(ringlight.data.__path__):
        if info.name.startswith("sampling"):
            module = importlib.import_module(f"ringlight.data.{info.name}")
            found |= {
                value
                for key, value in vars(module).items()
                if inspect.isclass(value) and issubclass(value, EpochSampler) and not key.startswith("_")
            }
    assert found - {EpochSampler, ClassSampler, ViewsSampler} == set(SAMPLERS.parts.values())
    assert SAMPLERS.parts[name] in found
