"""Successive halving whose trials wait: who goes on is decided among all that have come as far, not at the door.

A trial stops at each rung (1, 4, 16, ... steps) and waits there. One in `factor` of those that reached a rung goes on
from where it stopped. A pruner that only says yes or no when a trial arrives lets the first ones on whatever they
score, and a good one that came beside better ones is lost for good.

References: Jamieson and Talwalkar 2016 (Non-stochastic Best Arm Identification, figure 3), Li et al. 2020 (A System for
Massively Parallel Hyperparameter Tuning, algorithm 2), Li et al. 2018 (Hyperband, algorithm 1). In contrast to them a
rung that would let nobody on, being shorter than `factor`, lets its best one on, so that every study finishes a trial.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ringlight.training.tune_trials import Direction, State, StudySettings

Rungs = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a trial is: its place, its state (`pruned` waits) and its scores by step."""

    place: int
    state: State
    scores: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Which trial goes on, and how far.

    Args:
        brackets: the rungs of each bracket, steps in rising order; successive halving has one bracket.
        factor: one trial in so many goes on.
        direction: whether a lower or a higher score is better.
        eager: whether a trial goes on as soon as it may; else all have been to the first rung before.
        seed: of the brackets that places are dealt to.
    """

    brackets: tuple[Rungs, ...]
    factor: int
    direction: Direction
    eager: bool = False
    seed: int = 0

    @classmethod
    def of(cls, settings: StudySettings) -> Halving | None:
        """Return the halving of a study; None where its pruner is another."""
        if settings.pruner not in ("successive_halving", "hyperband"):
            return None
        least, most, factor = settings.min_steps, settings.max_steps, settings.reduction_factor
        brackets = [rungs(least, most, factor)]
        while settings.pruner == "hyperband" and brackets[-1]:
            brackets.append(brackets[-1][1:])
        # What ends early, or chooses by how others ended, cannot wait until all have had their first look.
        eager = settings.timeout is not None or settings.method == "bayesian"
        return cls(
            brackets=tuple(brackets), factor=factor, direction=settings.direction, eager=eager, seed=settings.seed
        )

    def bracket(self, place: int) -> int:
        """Return the bracket of a place, drawn by the shares of hyperband: factor^s / (s + 1) with s rungs."""
        if len(self.brackets) == 1:
            return 0
        shares = np.array([self.factor ** len(one) / (len(one) + 1) for one in self.brackets])
        draw = np.random.default_rng([self.seed, place])
        return int(draw.choice(len(shares), p=shares / shares.sum()))

    def first_stop(self, place: int) -> int | None:
        """Return the step at which a new trial waits; None lets it run to its end."""
        return next(iter(self.brackets[self.bracket(place)]), None)

    def next_on(self, standings: Iterable[Standing], *, is_filled: bool) -> tuple[int, int | None] | None:
        """Return the place that goes on and the step at which it waits again (None: to its end).

        Args:
            standings: of all trials.
            is_filled: whether no further trial begins.
        """
        dealt: dict[int, list[Standing]] = {}
        for one in standings:
            dealt.setdefault(self.bracket(one.place), []).append(one)
        for bracket in sorted(dealt):
            found = self._next_on(dealt[bracket], self.brackets[bracket], is_filled=is_filled)
            if found is not None:
                return found
        return None

    def _next_on(self, trials: Sequence[Standing], steps: Rungs, *, is_filled: bool) -> tuple[int, int | None] | None:
        stops = [*steps[1:], None]
        waiting = {one.place: _rung(one, steps) for one in trials if one.state == "pruned"}
        orders = [self._order(trials, step) for step in steps]
        for rung in reversed(range(len(steps))):
            order = orders[rung]
            for place in order[: len(order) // self.factor]:
                if waiting.get(place) == rung:
                    return place, stops[rung]
        if is_filled and not any(one.state in ("running", "complete") for one in trials):
            for rung in reversed(range(len(steps))):
                best = next((place for place in orders[rung] if waiting.get(place) == rung), None)
                if best is not None:
                    return best, stops[rung]
        return None

    def out(self, standings: Sequence[Standing], num_places: int) -> list[int]:
        """Return the places of waiting trials that cannot go on any more, whatever the others of the study score."""
        held = Counter(self.bracket(place) for place in range(num_places))
        found = []
        for bracket, steps in enumerate(self.brackets):
            trials = [one for one in standings if self.bracket(one.place) == bracket]
            most = max(1, held[bracket] // self.factor)
            for rung, step in enumerate(steps):
                behind = {one.place for one in trials if one.state == "pruned" and _rung(one, steps) == rung}
                order = self._order(trials, step)
                found += [place for place in order[most:] if place in behind]
                found += sorted(behind - set(order))  # no score
        return found

    def _order(self, trials: Sequence[Standing], step: int) -> list[int]:
        """Return the places that have a score at a step, the best first, of equals the first."""
        sign = 1 if self.direction == "minimize" else -1
        scores = {one.place: sign * one.scores[step] for one in trials if step in one.scores}
        return sorted((place for place in scores if not math.isnan(scores[place])), key=lambda at: (scores[at], at))


def rungs(least: int, most: int, factor: int) -> Rungs:
    """Return the steps at which trials wait: `least` times a power of `factor`, before the last step.

    Examples:
        >>> rungs(1, 40, 4), rungs(2, 16, 2), rungs(3, 3, 4)
        ((1, 4, 16), (2, 4, 8), ())
    """
    found = []
    while least < most:
        found.append(least)
        least *= factor
    return tuple(found)


def _rung(one: Standing, steps: Rungs) -> int | None:
    """Return the last rung that a trial has reached."""
    return max((rung for rung, step in enumerate(steps) if step in one.scores), default=None)
