"""The saved split: written whole, read back, refused with the row at fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringlight.data.split_file import read_split, write_split
from ringlight.errors import Problems, SplitError, WorkspaceError
from ringlight.types import Dataset, Record, Split


def split(*parts: list[int]) -> Split:
    return Split(*(np.array(rows, np.int64) for rows in parts))


@pytest.fixture
def dataset() -> Dataset:
    records = [
        Record(id='Blech "1", Ä.png', labels=(0,), group="coil 1"),
        Record(id="b\n", labels=(0,)),
        Record(id="c"),
    ]
    return Dataset.from_records(records, ["pit"], "multilabel")


def test_ids_with_commas_quotes_and_line_breaks_come_back(tmp_path: Path, dataset: Dataset) -> None:
    write_split(split([0], [2], [1]), dataset, tmp_path / "new" / "split.csv")
    saved = read_split(tmp_path / "new" / "split.csv")
    assert saved.parts == {'Blech "1", Ä.png': "train", "b\n": "test", "c": "val"}
    assert saved.groups == {'Blech "1", Ä.png': "coil 1"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["split.csv"]


def test_a_file_edited_in_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Spreadsheets write a byte-order mark and other line ends, and move columns."""
    (tmp_path / "s.csv").write_bytes("split,note,id\r\ntrain,x,a\r\ntest,y,ä\r\n".encode("utf-8-sig"))
    assert read_split(tmp_path / "s.csv").parts == {"a": "train", "ä": "test"}


def test_records_that_were_left_out_stay_so(tmp_path: Path, dataset: Dataset) -> None:
    parts = Split(np.array([0]), np.array([], np.int64), np.array([2]), left_out=np.array([1]))
    write_split(parts, dataset, tmp_path / "split.csv")
    assert '"b\n",left_out,' in (tmp_path / "split.csv").read_text()
    assert read_split(tmp_path / "split.csv").parts["b\n"] == "left_out"


def test_a_file_is_known_again_by_its_digest(tmp_path: Path, dataset: Dataset) -> None:
    hashed = dataset.with_column("content", ["0123456789abcdef" * 4, None, "f" * 64])
    write_split(split([0], [2], [1]), hashed, tmp_path / "split.csv")
    ids = dataset.ids
    assert read_split(tmp_path / "split.csv").contents == {ids[0]: "0123456789abcdef", ids[2]: "f" * 16}


def test_a_split_of_other_data_is_not_written(tmp_path: Path, dataset: Dataset) -> None:
    for wrong in (split([0], [1], []), split([0, 1], [2], [2]), split([0, 1], [2], [3])):
        with pytest.raises(SplitError, match="expected each of the 3 records in one part or left out, got"):
            write_split(wrong, dataset, tmp_path / "split.csv")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        write_split(split([0], [2], [1]), dataset, tmp_path / "file" / "split.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: expected a header with the columns id, split, group, got an empty file; add the header line"),
        ("a,train\nb,test\n", "row 1: expected a header with the columns id, split, group, got `a,train`"),
        ("id,split\na,trian\n", "row 2: expected train, val, test or left_out, got `trian`; did you mean `train`?"),
        ("id,split\na\n", "row 2: expected train, val, test or left_out, got ``; choose from: left_out, test"),
        ("id,split\n,train\n", "row 2: expected an id, got nothing; add the record's id or remove the row"),
        ("id,split\na,train\na,test\n", "row 3: expected every id once, got `a` again; remove one of the two rows"),
        ('id,split\n"a,train\n', "expected a CSV table with the columns id, split, group, got unexpected end of data"),
    ],
)
def test_a_faulty_file_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(SplitError) as caught:
        read_split(tmp_path / "s.csv")
    assert f"{tmp_path / 's.csv'}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_faulty_rows_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,split\n" + "".join(f"r{row},dev\n" for row in range(30)))
    with pytest.raises(Problems) as caught:
        read_split(tmp_path / "s.csv")
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1].endswith("and 10 more faults of this kind (30 in all)")


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\x89PNG\xff\xfe")
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "s.csv"):
        with pytest.raises(SplitError, match=r"expected a CSV table .*; give the split.csv of a run"):
            read_split(path)
