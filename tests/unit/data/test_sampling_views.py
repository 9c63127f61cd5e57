"""Views of records: whatever draws the records, each comes several times in a row, never twice as the same copy."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.data.sampling import SAMPLERS, EpochSampler
from ringlight.data.sampling_views import ViewsSampler
from ringlight.errors import ConfigError

LABELS = np.repeat([0, 1, 2], [9, 4, 1])


def records(name: str) -> EpochSampler:
    return SAMPLERS.build(name, labels=LABELS, task="multiclass", seed=5, batch_size=4, num_epochs=3)


@pytest.mark.parametrize("name", list(SAMPLERS.parts))
def test_every_key_of_the_other_sampler_comes_as_further_copies_of_its_own(name: str) -> None:
    views, alone = ViewsSampler(records(name), num_views=3), records(name)
    for epoch in range(3):
        views.set_epoch(epoch)
        alone.set_epoch(epoch)
        keys, given = list(views), list(alone)
        assert len(keys) == len(views) == 3 * len(given)
        assert [key[:2] for key in keys] == [key[:2] for key in given for _ in range(3)], "the order is the same"
        assert len(set(keys)) == len(keys), "no two of an epoch are augmented alike"
        assert views.rows(epoch).tolist() == [row for _, row, _ in keys]
        assert {epoch} == {key[0] for key in keys}


def test_an_epoch_of_a_resumed_run_is_that_of_one_that_was_never_stopped() -> None:
    through, resumed = (ViewsSampler(records("balanced"), num_views=2) for _ in range(2))
    for epoch in range(3):
        through.set_epoch(epoch)
        last = list(through)
    resumed.set_epoch(2)
    assert list(resumed) == last


def test_one_view_is_the_other_sampler_itself() -> None:
    assert list(ViewsSampler(records("class_pairs"), num_views=1)) == list(records("class_pairs"))


def test_no_view_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^supcon\.num_views: expected 1 or more, got 0; set supcon\.num_views=2$"):
        ViewsSampler(records("shuffle"), num_views=0)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_views_and_records_begin_in_the_middle_of_an_epoch(name: str) -> None:
    for sampler in (records(name), ViewsSampler(records(name), num_views=3)):
        whole = list(sampler)
        sampler.start_at(6)
        assert list(sampler) == whole[6:]
        assert list(sampler) == whole
