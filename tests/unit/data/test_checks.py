"""Checks before training: every fault with its file, what was got and what to do."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from PIL import Image

from ringlight.data.checks import check, hash_contents, inspect_dataset, statistics
from ringlight.data.decode import open_file
from ringlight.data.folder import FolderSource
from ringlight.errors import DataError, Problems
from ringlight.types import SCHEMA, Box, Dataset, Record


def dataset_of(*records: Record, task="multiclass", classes=("ok", "dent")) -> Dataset:
    return Dataset.from_records(records, classes, task, name="parts")


@pytest.fixture
def images(tmp_path, make_image):
    """Four different images as records: ok, ok, dent, dent."""
    return [
        Record(id=f"{i}.png", uri=str(make_image(tmp_path / f"{i}.png", seed=i, size=(8, 12))), labels=(i // 2,))
        for i in range(4)
    ]


def test_good_data_gives_no_finding(images):
    assert check(dataset_of(*images)) == []


def test_missing_empty_truncated_and_foreign_files_are_told_apart(tmp_path, images, make_image):
    make_image(tmp_path / "cut.jpg", size=(64, 64), seed=9)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("this is not an image")
    names = ("gone.png", "empty.png", "cut.jpg", "text.png")
    faulty = [Record(id=name, uri=str(tmp_path / name), labels=(0,)) for name in names]
    findings = check(dataset_of(*images, *faulty))
    assert [(finding.severity, finding.where) for finding in findings] == [("error", str(tmp_path / n)) for n in names]
    texts = [str(finding) for finding in findings]
    for text, word in zip(texts, ("no such file", "zero bytes", "damaged", "not a picture"), strict=True):
        assert word in text
        assert "\n" not in text
        assert text.startswith(str(tmp_path))


def test_identical_files_are_a_note_and_contradicting_ones_a_warning(tmp_path, images):
    """In NEU, patches_101 and patches_105 are the same file under two names."""
    for name in ("copy.png", "liar.png"):
        (tmp_path / name).write_bytes((tmp_path / "0.png").read_bytes())
    copy = Record(id="copy.png", uri=str(tmp_path / "copy.png"), labels=(0,))
    liar = Record(id="liar.png", uri=str(tmp_path / "liar.png"), labels=(1,))
    (note,) = check(dataset_of(*images, copy))
    assert note.severity == "note"
    assert str(note).startswith("parts: record `0.png`: expected every image once, got identical files: 2 (0.png, copy")
    (warning,) = check(dataset_of(*images, liar))
    assert warning.severity == "warning"
    assert str(warning) == (
        "parts: record `0.png`: expected the same labels on identical files, got `0.png`: ok, `liar.png`: dent; "
        "keep the record whose label is right"
    )


def test_rare_and_absent_classes_are_warnings(images):
    findings = check(dataset_of(*images[:3], classes=("ok", "dent", "rust")), min_samples_per_class=2)
    assert [finding.severity for finding in findings] == ["warning", "warning"]
    assert str(findings[0]).startswith(
        "parts: class `dent`: expected at least 2 records (data.min_samples_per_class), got 1;"
    )
    assert "class `rust`" in str(findings[1])
    assert "got 0" in str(findings[1])
    assert len(check(dataset_of(*images[:3], classes=("ok", "dent", "rust")), min_samples_per_class=0)) == 1


def test_ids_twice_and_missing_labels_are_errors():
    """`Dataset.from_records` refuses both; a plug-in's source may build its table itself."""
    columns = {"id": ["a", "a", "b"], "labels": [[0], [1], []]}
    rows = {name: columns.get(name, [None] * 3) for name in SCHEMA.names}
    dataset = Dataset(pa.Table.from_pydict(rows, schema=SCHEMA), ("ok", "dent"), "multiclass", "parts")
    errors = [str(finding) for finding in check(dataset, min_samples_per_class=1)]
    assert errors == [
        "parts: record `a`: expected every id once, got 2 records, rows 0, 1; remove or rename all but one",
        "parts: record `b`: expected exactly one label, got none; label it or leave it out",
    ]


def test_a_clean_part_of_a_multi_label_data_set_is_no_finding(images):
    clean = Record(id="clean", labels=())
    assert check(dataset_of(*images, clean, task="multilabel")) == []


def test_findings_are_json(images):
    (finding,) = check(dataset_of(*images[:3]))
    assert finding.to_dict() == {
        "severity": "warning",
        "where": "parts: class `dent`",
        "expected": "at least 2 records (data.min_samples_per_class)",
        "got": "1",
        "fix": finding.fix,
    }


def test_digests_are_of_the_bytes_and_change_the_fingerprint(tmp_path, images):
    dataset = dataset_of(*images, Record(id="table only", labels=(0,)))
    hashed = hash_contents(dataset)
    assert hashed[0].content == hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    assert hashed[4].content is None
    assert hashed.fingerprint != dataset.fingerprint
    (tmp_path / "0.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert hash_contents(dataset).fingerprint != hashed.fingerprint


def test_one_reading_gives_findings_digests_and_upright_sizes(tmp_path, images, make_image, monkeypatch):
    """A plan read every file three times: for the check, for the fingerprint, and its header for the size."""
    turned = make_image(tmp_path / "turned.jpg", size=(8, 12), exif=exif_of(6))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    dataset = dataset_of(
        *images,
        Record(id="turned.jpg", uri=str(turned), labels=(0,)),
        Record(id="broken.png", uri=str(tmp_path / "broken.png"), labels=(0,)),
        Record(id="table only", labels=(0,)),
    )
    opened = []
    monkeypatch.setattr("ringlight.data.checks.open_file", lambda path: opened.append(str(path)) or open_file(path))
    found = inspect_dataset(dataset)
    assert sorted(opened) == sorted(uri for uri in dataset.uris if uri is not None)
    assert list(found.findings) == check(dataset)
    assert found.dataset.take(range(5)).fingerprint == hash_contents(dataset.take(range(5))).fingerprint
    assert [record.content for record in found.dataset][5:] == [None, None]
    assert found.image_sizes == {(8, 12): 4, (12, 8): 1}


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_files_that_cannot_be_hashed_are_named_together(tmp_path, images):
    gone = [Record(id=str(i), uri=str(tmp_path / f"gone{i}.png"), labels=(0,)) for i in range(2)]
    with pytest.raises(DataError, match=r"gone0.png: expected an image file, got no such file"):
        hash_contents(dataset_of(*images, gone[0]))
    with pytest.raises(Problems) as caught:
        hash_contents(dataset_of(*images, *gone))
    assert len(caught.value.problems) == 2


def test_statistics_count_what_is_there(tmp_path, images, make_image):
    turned = make_image(tmp_path / "turned.jpg", size=(8, 12), exif=_quarter_turn())
    (tmp_path / "bad.png").write_bytes(b"")
    box = Box(label=1, x_min=0, y_min=0, x_max=2, y_max=2)
    records = [
        *images,
        Record(id="both", uri=str(turned), labels=(0, 1), boxes=(box, box), group="coil 1", split="train"),
        Record(id="bad", uri=str(tmp_path / "bad.png"), group="coil 1", split="test"),
        Record(id="no file", labels=(1,)),
    ]
    found = statistics(dataset_of(*records, task="multilabel"))
    content = found.to_dict()
    assert content["records"] == 7
    assert content["classes"] == {"ok": 3, "dent": 4}
    assert content["class_shares"]["dent"] == pytest.approx(4 / 7)
    assert content["label_combinations"] == {"dent": 3, "ok": 2, "(none)": 1, "ok + dent": 1}
    assert content["image_sizes"] == {"8x12": 4, "12x8": 1}
    assert content["image_modes"] == {"RGB": 5}
    assert content["boxes"] == {"ok": 0, "dent": 2}
    assert (content["unlabelled"], content["groups"]) == (1, 1)
    assert (content["unreadable"], content["without_file"]) == (1, 1)
    assert content["splits"] == {"test": 1, "train": 1}


def test_statistics_are_a_table(images):
    rows = statistics(dataset_of(*images)).rows()
    assert rows[:4] == [
        ("records", 4, ""),
        ("records without a label", 0, "0.0%"),
        ("class ok", 2, "50.0%"),
        ("class dent", 2, "50.0%"),
    ]
    assert ("image size 8x12", 4, "100.0%") in rows


def test_a_long_table_is_cut_and_says_so():
    records = [Record(id=str(i), labels=(i,)) for i in range(20)]
    rows = statistics(dataset_of(*records, classes=[f"c{i}" for i in range(20)])).rows()
    assert ("combination: 8 others", 8, "40.0%") in rows
    assert sum(name.startswith("class ") for name, *_ in rows) == 20


def _quarter_turn():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_the_identical_pair_in_neu_is_found(real_data):
    dataset = FolderSource(real_data("neu-det") / "images", label_regex=r"^(.+)_\d+\.").load()
    patches = dataset.take([row for row, key in enumerate(dataset.ids) if key.startswith("patches")])
    notes = [finding for finding in check(patches) if finding.severity == "note"]
    assert [finding.got for finding in notes] == ["identical files: 2 (patches_101.jpg, patches_105.jpg)"]
