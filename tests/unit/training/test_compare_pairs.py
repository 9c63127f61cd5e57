"""Runs beside the reference: differences only on one test set, and only where there is more than chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ringlight.errors import RunError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.training.compare import Comparison, Pair, compare_results, load_results
from ringlight.training.compare_figure import comparison_figure
from ringlight.training.results_file import Predictions, Results

CLASSES = ("dent", "good", "scratch")
Write = Callable[..., Results]


def scores(truth: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Return soft-max probabilities that favour the truth by `strength`."""
    logits = np.random.default_rng(seed).normal(size=(len(truth), len(CLASSES)))
    logits[np.arange(len(truth)), truth] += strength
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


TRUTH = np.random.default_rng(0).integers(0, 3, 240)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a run folder as a training does, and read it back."""

    def make(
        name: str,
        probabilities: np.ndarray,
        *,
        truth: np.ndarray = TRUTH,
        ids: list[str] | None = None,
        groups: list[str] | None = None,
        classes: tuple[str, ...] = CLASSES,
        task: Any = "multiclass",
        **changes: Any,
    ) -> Results:
        metrics = classification_metrics(truth, np.nan_to_num(probabilities, nan=1 / 3), classes, task)
        values = {
            "schema_version": 2,
            "run": name,
            "model": {"name": "resnet18"},
            "loss": {"name": "cross_entropy"},
            "hyper_parameters": {"seed": 0, "optimizer.lr": 0.1},
            "dataset": {"fingerprint": "f", "classes": list(classes), "task": task},
            "split": {"strategy": "stratified_70_15_15", "seed": 0},
            "judged_part": "test",
            "test": {"scalars": metrics.scalars, "threshold": metrics.threshold},
        } | changes
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(values))
        labels = [[int(k)] for k in truth] if truth.ndim == 1 else [np.flatnonzero(row).tolist() for row in truth]
        columns: dict[str, Any] = {"id": ids or [f"part {row}" for row in range(len(truth))], "truth": labels}
        if groups is not None:
            columns["group"] = groups
        columns |= {f"probability/{label}": probabilities[:, k] for k, label in enumerate(classes)}
        pq.write_table(pa.table(columns), folder / "predictions.parquet")
        (found,) = load_results(folder)
        assert isinstance(found, Results)
        return found

    return make


def only(comparison: Comparison) -> Pair:
    (pair,) = comparison.pairs
    return pair


def test_a_better_run_is_called_better_with_its_interval(write: Write) -> None:
    comparison = compare_results(
        [write("before", scores(TRUTH, 1.0, 1)), write("after", scores(TRUTH, 2.5, 2))], num_resamples=400
    )
    pair = only(comparison)
    first = pair.differences[0]
    rows = {row["run"]: row for row in comparison.to_dicts()}
    assert first.metric == "macro_f1"
    assert first.value == pytest.approx(rows["after"]["macro_f1"] - rows["before"]["macro_f1"])
    assert first.low is not None
    assert first.high is not None
    assert 0 < first.low < first.value < first.high
    assert pair.verdict == f"`after` is better in macro_f1 by {first.value:.3f} [{first.low:.3f}, {first.high:.3f}]"
    assert comparison.verdicts == (f"against `before`, {pair.verdict}",)
    assert comparison.lines() == comparison.verdicts
    assert comparison.verdicts[0] in str(comparison)
    assert pair.mcnemar is not None
    assert pair.mcnemar.p_value < 0.001
    assert (pair.num_records, pair.num_units, pair.unit) == (240, 240, "record")
    (loss,) = [one for one in pair.differences if one.metric == "log_loss"]
    assert loss.value < 0
    assert loss.sentence.startswith("`after` is better in log_loss by 0.")
    assert comparison.notes == ()


def test_the_first_run_named_is_the_reference_whichever_is_best(write: Write) -> None:
    better, worse = write("better", scores(TRUTH, 2.5, 2)), write("worse", scores(TRUTH, 1.0, 1))
    comparison = compare_results([better, worse], num_resamples=200)
    assert comparison.reference == "better"
    assert comparison.rows[0][0] == "better"
    assert only(comparison).verdict.startswith("`worse` is worse in macro_f1 by 0.")


def test_no_difference_is_said_to_be_none(write: Write) -> None:
    """Two trainings that differ in their seed alone are what most comparisons show."""
    comparison = compare_results([write("a", scores(TRUTH, 2, 1)), write("b", scores(TRUTH, 2, 2))], num_resamples=400)
    assert only(comparison).verdict.startswith("no difference shown in macro_f1: ")
    assert only(comparison).differences[0].verdict == "not shown"
    assert comparison.verdicts == (f"against `a`, `b`: {only(comparison).verdict}",)


def test_two_runs_that_decide_alike_are_said_to(write: Write) -> None:
    same = scores(TRUTH, 2, 1)
    pair = only(compare_results([write("a", same), write("b", same)], num_resamples=100))
    assert pair.verdict == "no difference shown in macro_f1: +0.000, they decide alike on every record"
    assert pair.differences[0].low is None
    assert pair.num_discordant == 0
    assert pair.mcnemar is not None
    assert pair.mcnemar.p_value == 1.0


def test_five_disagreements_show_nothing_even_if_unanimous(write: Write) -> None:
    """Each of five is right by chance as often as not: p = 0.06. A bootstrap of five alike never sees a zero."""
    truth = TRUTH[:60]
    good = np.eye(3)[truth] * 0.97 + 0.01
    bad = good.copy()
    bad[:5] = np.roll(bad[:5], 1, axis=1)
    pair = only(compare_results([write("a", bad, truth=truth), write("b", good, truth=truth)], num_resamples=400))
    first = pair.differences[0]
    assert first.low is not None
    assert first.low > 0
    assert first.verdict == "not shown"
    assert first.sentence.endswith("but only 5 records decided differently, where 6 are needed")
    assert pair.mcnemar is not None
    assert pair.mcnemar.p_value == 0.0625


def test_records_and_classes_in_another_order_change_nothing(write: Write) -> None:
    before, after = scores(TRUTH, 1.0, 1), scores(TRUTH, 2.0, 2)
    plain = compare_results([write("a", before), write("b", after)], num_resamples=100)
    order = np.random.default_rng(3).permutation(len(TRUTH))
    turned = write(
        "c",
        after[order][:, [2, 0, 1]],
        truth=np.array([1, 2, 0])[TRUTH[order]],
        ids=[f"part {row}" for row in order],
        classes=("scratch", "dent", "good"),
    )
    again = compare_results([write("d", before), turned], predictions=[given(before), None], num_resamples=100)
    assert [one.value for one in only(again).differences] == pytest.approx(
        [one.value for one in only(plain).differences]
    )
    assert [one.low for one in only(again).differences] == pytest.approx([one.low for one in only(plain).differences])


def given(probabilities: np.ndarray) -> Predictions:
    return Predictions(
        tuple(f"part {row}" for row in range(len(TRUTH))), tuple((int(k),) for k in TRUTH), CLASSES, probabilities
    )


def test_groups_are_drawn_whole_and_found_in_either_run(write: Write) -> None:
    groups = [f"coil {row // 12}" for row in range(len(TRUTH))]
    before, after = write("a", scores(TRUTH, 1.0, 1)), write("b", scores(TRUTH, 2.5, 2), groups=groups)
    pair = only(compare_results([before, after], num_resamples=200))
    assert (pair.unit, pair.num_units) == ("group", 20)
    assert "240 records in 20 groups" in compare_results([before, after], num_resamples=50).to_markdown()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": {"fingerprint": "g", "classes": list(CLASSES), "task": "multiclass"}}, "judged on different data"),
        ({"ids": [f"part {row + 40}" for row in range(240)]}, "240 and 240 records, 200 of them in both"),
        ({"truth": np.roll(TRUTH, 1)}, "the truth of record `part 0` is not the same in both"),
        ({"classes": ("dent", "good", "hole")}, "only one of them knows `hole`, `scratch`"),
    ],
    ids=["data", "records", "truth", "classes"],
)
def test_what_was_not_judged_alike_has_no_difference(changes: dict[str, Any], reason: str, write: Write) -> None:
    if "truth" in changes:  # the first record whose label moved
        changes = {"truth": np.where(np.arange(240) == 0, (TRUTH + 1) % 3, TRUTH)}
    comparison = compare_results([write("a", scores(TRUTH, 1, 1)), write("b", scores(TRUTH, 2, 2), **changes)])
    pair = only(comparison)
    assert reason in pair.refused
    assert pair.differences == ()
    assert pair.verdict == f"no difference computed: {pair.refused}"
    assert any(reason in note for note in comparison.notes)
    assert len(comparison.rows) == 2
    with pytest.raises(RunError, match="expected two runs that were judged on the same records, got"):
        comparison_figure(comparison)


def test_probabilities_that_are_none_refuse_the_pair_and_not_the_table(write: Write) -> None:
    good, bad = write("a", scores(TRUTH, 1, 1)), write("b", scores(TRUTH, 2, 2))
    assert bad.folder is not None
    path = bad.folder / "predictions.parquet"
    broken = np.where(np.arange(240) == 3, np.nan, 0.25)
    table = pq.read_table(path)
    pq.write_table(
        table.set_column(table.column_names.index("probability/good"), "probability/good", pa.array(broken)), path
    )
    pair = only(compare_results([good, bad]))
    assert "probabilities: expected numbers from 0 to 1, got nan in row 3, class `good`" in pair.refused


def test_a_missing_or_damaged_file_of_predictions_is_named(write: Write) -> None:
    first, second, third = (write(name, scores(TRUTH, 1, 1)) for name in ("a", "b", "c"))
    assert second.folder is not None
    assert third.folder is not None
    (second.folder / "predictions.parquet").unlink()
    (third.folder / "predictions.parquet").write_bytes(b"PAR1 not at all")
    notes = compare_results([first, second, third]).notes
    for name, note in zip("bc", notes, strict=True):
        assert note.startswith(f"note: `{name}`: no difference computed: the predictions of `{name}` are not at hand")
        assert "expected the run's predictions.parquet with ids, truth and a probability of each class" in note
    with pytest.raises(RunError, match="expected predictions, or None, for each of 2 runs, got 1"):
        compare_results([first, second], predictions=[None])


def test_a_test_set_of_one_class_compares_what_is_defined(write: Write) -> None:
    """Only accuracy, recall and the like are; the class that is there has no AUROC, and nothing is NaN."""
    truth = np.ones(40, int)
    pair = only(
        compare_results(
            [write("a", scores(truth, 0.5, 1), truth=truth), write("b", scores(truth, 2.5, 2), truth=truth)],
            num_resamples=200,
        )
    )
    assert "accuracy" in [one.metric for one in pair.differences]
    assert "auroc" not in [one.metric for one in pair.differences]
    assert json.dumps(pair.to_dict(), allow_nan=False)


def test_one_group_shows_no_difference(write: Write) -> None:
    """All pictures of one part: however many there are, another part may turn the result round."""
    runs = [write(name, scores(TRUTH, level, 1), groups=["p"] * 240) for name, level in (("a", 0.5), ("b", 3.0))]
    pair = only(compare_results(runs, num_resamples=100))
    assert pair.num_units == 1
    assert {one.verdict for one in pair.differences} == {"not shown"}
    assert "no interval can be told" in pair.verdict


def test_the_operating_point_that_decided_decides_again(write: Write) -> None:
    """The scores of a run come from its own point; comparing plain argmax would show differences that are not there."""
    probabilities = scores(TRUTH, 1, 1)
    point = OperatingPoint(
        name="careful", kind="recall_at_least", task="multiclass", classes=CLASSES, rule="gate",
        thresholds=(None, None, 0.05), label="scratch",
    )  # fmt: skip
    metrics = classification_metrics(TRUTH, probabilities, CLASSES, "multiclass", decisions=point.decide(probabilities))
    test = {"scalars": metrics.scalars, "threshold": None, "operating_point": "careful"}
    careful = write("b", probabilities, test=test, operating_points=[point.to_dict()])
    comparison = compare_results([write("a", probabilities), careful], num_resamples=100)
    rows = {row["run"]: row for row in comparison.to_dicts()}
    assert only(comparison).num_discordant > 0
    assert only(comparison).differences[0].value == pytest.approx(rows["b"]["macro_f1"] - rows["a"]["macro_f1"])


def test_multilabel_runs_compare_with_their_thresholds_and_without_mcnemar(write: Write) -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random((80, 3)) < 0.4).astype(int)
    probabilities = np.clip(truth * 0.5 + generator.random((80, 3)) * 0.5, 0, 1)
    lower = classification_metrics(truth, probabilities, CLASSES, "multilabel", threshold=[0.2, 0.5, 0.5])
    runs = [
        write("a", probabilities, truth=truth, task="multilabel"),
        write(
            "b", probabilities, truth=truth, task="multilabel",
            test={"scalars": lower.scalars, "threshold": [0.2, 0.5, 0.5]},
        ),
    ]  # fmt: skip
    comparison = compare_results(runs, num_resamples=100)
    pair = only(comparison)
    rows = {row["run"]: row for row in comparison.to_dicts()}
    assert [one.metric for one in pair.differences][:3] == ["macro_f1", "micro_f1", "subset_accuracy"]
    assert pair.differences[0].value == pytest.approx(rows["b"]["macro_f1"] - rows["a"]["macro_f1"])
    assert pair.mcnemar is None
    assert pair.per_class["dent"]["recall"].value >= 0
    assert pair.per_class["scratch"]["recall"].value == 0


def test_a_leaky_run_is_called_leaky_in_every_sentence(write: Write) -> None:
    split = {"strategy": "stratified_70_15_15", "seed": 0, "leaky": True}
    runs = [write("a", scores(TRUTH, 0.5, 1)), write("b", scores(TRUTH, 3.0, 2), split=split)]
    assert only(compare_results(runs, num_resamples=100)).verdict.startswith("`b` (leaky) is better in macro_f1 by ")


def test_the_comparison_is_told_as_markdown_json_and_figure(write: Write) -> None:
    runs = [
        write("a", scores(TRUTH, 1.0, 1)),
        write("b|c", scores(TRUTH, 2.5, 2), hyper_parameters={"seed": 0, "optimizer.lr": 0.2}),
    ]
    comparison = compare_results(runs, num_resamples=100)
    text = comparison.to_markdown()
    for line in (
        "### b\\|c against a",
        "| metric | difference | interval | verdict |",
        "| class | recall | precision | f1 |",
        "### Settings that differ",
        "| setting | a | b\\|c |",
        "| optimizer.lr | 0.1000 | 0.2000 |",
    ):
        assert line in text.splitlines()
    assert "McNemar: only a right" in text
    values = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert values["pairs"][0]["differences"][0]["verdict"] == "better"
    assert set(values["pairs"][0]["per_class"]) == set(CLASSES)
    assert values["settings"] == {"optimizer.lr": {"a": 0.1, "b|c": 0.2}}
    figure = comparison_figure(comparison)
    (axes,) = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels[0] == "macro_f1"
    assert "recall of scratch" in labels
    assert "log_loss" not in labels  # to the right is better, on every line
    assert axes.get_title(loc="left") == "b|c"
