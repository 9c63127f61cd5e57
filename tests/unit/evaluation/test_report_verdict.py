"""The verdict: what an engineer would say, in plain words, with the leak in red."""

from __future__ import annotations

from typing import Any

import pytest

from ringlight.evaluation.report_blocks import Sentence
from ringlight.evaluation.report_verdict import verdict


@pytest.fixture
def results() -> dict[str, Any]:
    """Two classes that can be judged, two that cannot; parts of several records; nothing leaks."""

    def row(recall: float, support: int, groups: int) -> dict[str, Any]:
        return {"recall": recall, "support": support, "support_groups": groups}

    names = {"good": (0.97, 300, 100), "scratch": (0.91, 120, 44), "pore": (0.2, 9, 4), "dent": (0.0, 0, 0)}
    return {
        "judged_part": "test",
        "test": {
            "num_records": 429, "num_groups": 148, "scalars": {"macro_f1": 0.871},
            "per_class": {name: row(*values) for name, values in names.items()},
            "intervals": {
                "scalars": {"macro_f1": [0.841, 0.902]}, "unit": "group", "too_few": ["pore", "dent"],
                "per_class": {"scratch": {"recall": [0.832, 0.957]}},
            },
        },
        "split": {"parts": {"test": {"num_records": 429}}, "leaky": False, "leaks": [], "probe": None,
                  "leak_check": "the column group, identical files: no leak found"},
    }  # fmt: skip


def probe(random: float, grouped: float) -> dict[str, Any]:
    return {"metric": "macro_f1", "random": {"value": random}, "grouped": {"value": grouped},
            "points": 100 * (random - grouped)}  # fmt: skip


def test_an_honest_run_is_told_in_plain_words(results: dict[str, Any]) -> None:
    assert verdict(results) == (
        Sentence("Macro-F1 is 0.87 [0.84, 0.90] on 429 records of 148 parts of the test data."),
        Sentence("Recall of scratch is 0.91 [0.83, 0.96] on 44 parts, the lowest of the classes that can be judged."),
        Sentence("1 of 4 classes has too few parts to judge: pore.", "warn"),
        Sentence("dent has no example in the judged data: nothing is known of it.", "warn"),
        Sentence("No leakage found in this split (looked at: the column group, identical files).", "good"),
    )


def test_new_data_are_no_part_of_the_run(results: dict[str, Any]) -> None:
    """`ringlight evaluate RUN DATA` said in red that the new records had chosen the weights."""
    results["judged_part"] = "new data"
    results["split"] |= {"parts": {"new data": {"num_records": 429}}, "leak_check": "files compared, byte for byte"}
    told = verdict(results)
    assert told[0].text == "Macro-F1 is 0.87 [0.84, 0.90] on 429 records of 148 parts of the new data."
    assert told[-1] == Sentence("None of these files is known to the model (looked at: files compared, byte for byte).")
    assert not any(sentence.tone == "bad" for sentence in told)
    results["split"] |= {"leaky": True, "leaks": ["the model was trained or tuned on 2 (a, b) of these files"]}
    assert [sentence.text for sentence in verdict(results)[:2]] == [
        "The model has seen records that it is judged on: the scores leak.",
        "the model was trained or tuned on 2 (a, b) of these files",
    ]


def test_records_divided_one_by_one_are_not_praised(results: dict[str, Any]) -> None:
    """`split.groups=none` looks for no near-duplicates; the report praised it with a green tick."""
    checked = "identical files: no leak found; near-duplicates were not looked for"
    results["split"] |= {"groups": "none: divided record by record", "leak_check": checked}
    assert verdict(results)[-1] == Sentence(
        "Records were divided one by one: leakage is not ruled out "
        "(looked at: identical files; near-duplicates were not looked for).",
        "warn",
    )


def test_a_leaky_run_opens_with_its_leaks_in_red(results: dict[str, Any]) -> None:
    results["split"] |= {"leaky": True, "leaks": ["12 parts lie in train and test"], "probe": probe(0.913, 0.561)}
    assert verdict(results)[:3] == (
        Sentence("This run is leaky: records of the same part lie on both sides of the split.", "bad"),
        Sentence("12 parts lie in train and test", "bad"),
        Sentence("Measured on this data: random split .91, grouped split .56: 35 points are leakage.", "bad"),
    )
    assert not any("No leakage" in sentence.text for sentence in verdict(results))


def test_a_probe_tells_what_a_random_split_would_have_pretended(results: dict[str, Any]) -> None:
    results["split"]["probe"] = probe(0.913, 0.561)
    sentences = verdict(results)
    assert (
        Sentence(
            "A random split of this data would deceive: random split .91, grouped split .56: 35 points are leakage. "
            "This run keeps parts together.",
            "bad",
        )
        in sentences
    )
    results["split"]["probe"] = probe(0.81, 0.80)
    assert "1 point is leakage" in " ".join(sentence.text for sentence in verdict(results))
    results["split"]["probe"] = probe(0.801, 0.80)
    chance = "The leak probe shows no leakage beyond chance: random split .80, grouped split .80."
    assert Sentence(chance, "good") in verdict(results)


def test_points_within_chance_are_no_leak(results: dict[str, Any]) -> None:
    """On few parts the two splits differ by chance: the probe's own interval decides, not the points alone."""
    results["split"]["probe"] = probe(0.86, 0.81) | {"shown": False}
    chance = "The leak probe shows no leakage beyond chance: random split .86, grouped split .81."
    assert Sentence(chance, "good") in verdict(results)


def test_a_split_that_was_not_checked_says_so(results: dict[str, Any]) -> None:
    results["split"]["leak_check"] = "no content: leak check not possible"
    assert Sentence("Leakage was not checked: no content: leak check not possible.", "warn") in verdict(results)
    results["split"]["leak_check"] = "files not hashed: no leak check"
    assert Sentence("Leakage was not checked: files not hashed: no leak check.", "warn") in verdict(results)
    results["split"]["leak_check"] = ""
    assert Sentence("Leakage was not checked.", "warn") in verdict(results)


def test_a_run_without_a_test_part_says_that_it_was_judged_too_kindly(results: dict[str, Any]) -> None:
    results["judged_part"] = "val"
    assert verdict(results)[1] == Sentence(
        "There is no test part: the 429 records of 148 parts judged here also chose the weights, "
        "so the scores are too kind.",
        "bad",
    )


def test_without_groups_records_are_counted(results: dict[str, Any]) -> None:
    results["test"]["intervals"]["unit"] = "record"
    results["test"]["num_groups"] = None
    told = " ".join(sentence.text for sentence in verdict(results))
    assert "on 429 records of the test data" in told
    assert "on 120 records" in told
    assert "too few records to judge" in told


def test_escapes_refused_points_and_calibration_are_told(results: dict[str, Any]) -> None:
    results["test"]["plant"] = {"escape_rate": 0.012, "overkill_rate": 0.034,
                                "intervals": {"escape_rate": [0.004, 0.027]}}  # fmt: skip
    results["operating_points"] = [{"name": "safe", "status": "refused"}, {"name": "max_f1", "status": "ok"}]
    results["calibration"] = {"kind": "temperature", "accepted": False, "reason": "it does not help"}
    assert verdict(results)[-3:] == (
        Sentence("Escape rate 1.2 [0.4, 2.7] %, overkill rate 3.4 %."),
        Sentence("1 operating point is refused and decides as the default: safe.", "warn"),
        Sentence("Probabilities are not calibrated: it does not help.", "warn"),
    )
    results["calibration"]["kind"] = "none"  # not asked for: nothing to warn of
    assert "calibrated" not in verdict(results)[-1].text


def test_parts_of_one_record_each_are_counted_once(results: dict[str, Any]) -> None:
    """The demo was judged `on 91 records of 91 parts`."""
    results["test"]["num_groups"] = results["test"]["num_records"]
    assert "on 429 parts of the test data." in verdict(results)[0].text


def test_a_run_in_which_no_class_has_an_example_has_a_verdict(results: dict[str, Any]) -> None:
    for row in results["test"]["per_class"].values():
        row |= {"support": 0, "support_groups": 0}
    results["test"]["scalars"]["macro_f1"] = None
    assert verdict(results)[0].text == "good, scratch, pore and dent have no example in the judged data: " + (
        "nothing is known of them."
    )
