"""Label tables: CSV and Parquet, class names, lists, one-hot columns, and tables of labels alone."""

from __future__ import annotations

import datetime
import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ringlight.data.table import TableSource
from ringlight.errors import ConfigError, DataError, Problems

MAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "table" / "make.py"))


@pytest.fixture
def root(tmp_path):
    MAKE["make"](tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def table(tmp_path):
    """Write `labels.csv` from lines and return its folder."""

    def write(*lines: str, encoding: str = "utf-8") -> Path:
        (tmp_path / "labels.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))
        return tmp_path

    return write


def names_of(dataset):
    return [[dataset.classes[label] for label in record.labels] for record in dataset]


def test_paths_labels_groups_times_and_splits(root):
    source = TableSource(root, label_columns="label", group_column="coil", time_column="taken", split_column="part")
    dataset = source.load()
    assert dataset.ids == ["images/0001.png", "images/0002.png", "images/0003.png"]
    assert names_of(dataset) == [["ok"], ["dent"], ["ok"]]
    assert dataset.task == "multiclass"
    assert dataset.groups == ["c1", "c1", "c2"]
    assert [record.split for record in dataset] == ["train", "train", "test"]
    assert dataset[1].time - dataset[0].time == 86400
    assert dataset[0].time == datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC).timestamp()
    assert Path(dataset[0].uri) == root / "images" / "0001.png"


def test_the_table_itself_may_be_the_root(root):
    assert TableSource(root / "labels.csv", label_columns="label").load().ids == TableSource(root).load().ids


def test_paths_may_be_relative_to_an_image_folder(root):
    text = (root / "labels.csv").read_text().replace("images/", "")
    (root / "labels.csv").write_text(text)
    assert Path(TableSource(root, images="images").load()[0].uri).is_file()


def test_a_list_in_a_cell_makes_it_multi_label(table):
    dataset = TableSource(table("id,label", "a,dent;rust", "b,", "c,rust")).load()
    assert dataset.task == "multilabel"
    assert names_of(dataset) == [["dent", "rust"], [], ["rust"]]


def test_several_label_columns_of_names_are_joined(table):
    root = table("id,first,second", "a,dent,rust", "b,rust,")
    dataset = TableSource(root, label_columns=["first", "second"]).load()
    assert names_of(dataset) == [["dent", "rust"], ["rust"]]


def test_one_hot_columns_are_found_and_their_task_inferred(table):
    dataset = TableSource(table("id,dent,rust", "a,1,0", "b,0,0", "c,1,1")).load()
    assert (dataset.task, dataset.classes) == ("multilabel", ("dent", "rust"))
    assert dataset.label_matrix().tolist() == [[1, 0], [0, 0], [1, 1]]
    assert dataset.notes == ("labels: column(s) dent, rust; task multilabel",)
    single = TableSource(table("id,dent,rust", "a,1,0", "b,0,1.0", "c,True,false")).load()
    assert (single.task, single.targets().tolist()) == ("multiclass", [0, 1, 0])


def test_a_typo_in_a_one_hot_table_is_a_fault_and_not_a_class(table):
    with pytest.raises(DataError) as caught:
        TableSource(table("id,dent,rust", "a,1,0", "b,0,11", "c,1,1")).load()
    message = "labels.csv: row 3, column `rust`: expected 0 or 1, got `11`; correct the cell or remove the row"
    assert str(caught.value) == message


def test_a_column_of_measures_among_one_hot_columns_is_asked_about_once(table):
    """Each of its rows was reported as a cell that is neither 0 nor 1, with the advice to remove the row."""
    root = table("id,dent,rust,width", "a,1,0,1600", "b,0,1,1600")
    with pytest.raises(DataError) as caught:
        TableSource(root).load()
    assert str(caught.value) == (
        "labels.csv: expected a column `label`, one column left over, or one-hot columns, got columns dent, rust, "
        "width, of which width not; set data.label_columns to the column or columns with the labels"
    )
    assert TableSource(root, label_columns=["dent", "rust"]).load().classes == ("dent", "rust")


def test_empty_one_hot_cells_are_listed_with_their_rows(table):
    with pytest.raises(Problems) as caught:
        TableSource(table("id,dent,rust", "a,1,0", "b,,1", "", "c,NaN,1")).load()
    assert [line.partition(": expected")[0] for line in caught.value.problems] == [
        "labels.csv: row 3, column `dent`",
        "labels.csv: row 5, column `dent`",
    ]
    assert "got an empty cell" in str(caught.value)


def test_a_missing_label_in_a_multi_class_table_names_the_row(table):
    with pytest.raises(DataError) as caught:
        TableSource(table("id,label", "a,dent", "b,nan", "c,rust")).load()
    assert str(caught.value).startswith("labels.csv: row 3: expected exactly one label, got none; label it")
    assert "data.task=multilabel" in str(caught.value)


def test_a_long_list_of_faults_is_cut(table):
    rows = [f"r{number}," for number in range(50)]
    with pytest.raises(Problems) as caught:
        TableSource(table("id,label", "a,dent", *rows)).load()
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "labels.csv: and 30 more faults of this kind (50 in all)"


def test_the_task_can_be_set_and_is_then_enforced(table):
    assert TableSource(table("id,label", "a,dent", "b,"), task="multilabel").load().task == "multilabel"
    with pytest.raises(DataError, match="row 2: expected exactly one label, got `dent` and `rust`"):
        TableSource(table("id,label", "a,dent;rust", "b,dent"), task="multiclass").load()


def test_unknown_classes_are_named_with_the_near_miss(table):
    with pytest.raises(DataError, match=r"row 3: expected a class of data\.classes, got `dnet`; did you mean `dent`"):
        TableSource(table("id,label", "a,dent", "b,dnet"), classes=["dent", "rust"]).load()


def test_ids_keep_their_zeros_and_class_none_stays_a_class(table):
    """Type guessing would turn `007` into 7, and `none` or `NA` into a missing label."""
    dataset = TableSource(table("id,label", "007,none", "7,NA")).load()
    assert dataset.ids == ["007", "7"]
    assert dataset.classes == ("NA", "none")


def test_an_id_that_stands_twice_names_both_rows(table):
    with pytest.raises(DataError) as caught:
        TableSource(table("id,label", "a,dent", "b,dent", "a,rust")).load()
    where = "labels.csv: row 4, column `id`: expected every id once, got `a` again (first in row 2)"
    assert str(caught.value).startswith(where)


def test_an_empty_path_is_reported_once(table):
    with pytest.raises(DataError) as caught:
        TableSource(table("path,label", "a.png,dent", ",dent")).load()
    message = "labels.csv: row 3, column `path`: expected a value, got an empty cell; fill it or remove the row"
    assert str(caught.value) == message


def test_rows_without_an_image_are_one_error_or_left_out(root):
    with (root / "labels.csv").open("a") as file:
        file.write("images/9.png,ok,c9,,\nimages/8.png,ok,c9,,\n")
    source = {"label_columns": "label"}
    with pytest.raises(DataError) as caught:
        TableSource(root, **source).load()
    assert "labels.csv: row 5: expected an image for every row" in str(caught.value)
    assert "no image for 2 (images/9.png, images/8.png) of 5" in str(caught.value)
    assert "data.missing=skip" in str(caught.value)
    dataset = TableSource(root, missing="skip", **source).load()
    assert len(dataset) == 3
    assert dataset.notes[-1] == "left out rows without an image: 2 (images/9.png, images/8.png)"


def test_skipping_every_row_is_refused(table):
    with pytest.raises(DataError, match="expected an image for every row"):
        TableSource(table("path,label", "a.png,dent"), missing="skip").load()


def test_bad_times_and_splits_are_listed_together(table):
    root = table("id,label,when,part", "a,x,yesterday,train", "b,x,inf,hold", "c,x,,")
    with pytest.raises(Problems) as caught:
        TableSource(root, time_column="when", split_column="part").load()
    text = str(caught.value)
    assert "row 2: expected a number or an ISO 8601 date (data.time_column), got `yesterday`" in text
    assert "row 3: expected a number or an ISO 8601 date (data.time_column), got `inf`" in text
    assert "row 3: expected train, val or test (data.split_column), got `hold`" in text


def test_semicolons_tabs_and_a_byte_order_mark_are_read(table):
    """What a German spreadsheet saves as CSV."""
    assert TableSource(table("id;label", "a;dent", "b;rust", encoding="utf-8-sig")).load().ids == ["a", "b"]
    assert TableSource(table("id\tlabel", "a\tdent")).load().classes == ("dent",)


def test_rows_of_the_wrong_length_are_named(table):
    with pytest.raises(Problems) as caught:
        TableSource(table("id,label", "a,dent", "b", "c,dent,rust")).load()
    assert caught.value.problems[0].startswith("labels.csv: row 3: expected 2 cells, as in the header, got 1;")
    assert caught.value.problems[1].startswith("labels.csv: row 4: expected 2 cells, as in the header, got 3;")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header of column names, got none"),
        (b"id,label\n", "expected at least one row, got none"),
        (b"id,id\na,b\n", "row 1: expected every column once, got `id` twice"),
        ("id,label\na,Löcher\n".encode("latin-1"), "expected a CSV file in UTF-8"),
        (b"id,label\na,\n", "expected at least one label, got only empty cells"),
        (b"id,x,y\na,u,v\n", "expected a column `label`, one column left over, or one-hot columns, got columns x, y"),
    ],
)
def test_tables_that_say_nothing_are_refused(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        TableSource(tmp_path).load()


def test_a_column_that_is_not_there_gets_the_near_miss(table):
    with pytest.raises(DataError, match=r"expected the column `labl` \(data.label_columns\), .* did you mean `label`"):
        TableSource(table("id,label", "a,dent"), label_columns="labl").load()


def test_the_only_table_is_taken_and_several_are_a_question(tmp_path):
    with pytest.raises(DataError, match=r"expected labels.csv or one table, got none; set data.file"):
        TableSource(tmp_path).load()
    (tmp_path / "parts.csv").write_text("id,label\na,dent\n")
    assert len(TableSource(tmp_path).load()) == 1
    (tmp_path / "other.csv").write_text("id,label\na,dent\n")
    with pytest.raises(DataError, match=r"got 2 tables: other\.csv, parts\.csv"):
        TableSource(tmp_path).load()
    with pytest.raises(DataError, match=r"did you mean `parts\.csv`"):
        TableSource(tmp_path, file="part.csv").load()


def test_parquet_with_lists_numbers_and_times(tmp_path):
    columns = {
        "id": ["a", "b"],
        "labels": [["dent", "rust"], []],
        "coil": [1.0, None],
        "when": [datetime.datetime(2024, 5, 1), None],
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    dataset = TableSource(tmp_path, group_column="coil", time_column="when").load()
    assert names_of(dataset) == [["dent", "rust"], []]
    assert [record.group for record in dataset] == ["1", None]
    assert dataset[0].time == datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC).timestamp()


def test_parquet_one_hot_columns_of_floats_with_a_gap(tmp_path):
    """pandas stores whole numbers with a missing one as floats: 1.0 is 1, NaN is a fault in row 2."""
    pyarrow.parquet.write_table(
        pa.table({"id": ["a", "b", "c"], "x": [1.0, float("nan"), 0], "y": [0, 1, 1]}), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError, match=r"t.parquet: row 2, column `x`: expected 0 or 1, got an empty cell"):
        TableSource(tmp_path).load()


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="expected a Parquet file"):
        TableSource(tmp_path).load()


def test_all_real_label_rows_are_a_table_of_labels_alone(real_data):
    dataset = TableSource(real_data("severstal-sample"), file="image_labels_full.csv").load()
    assert len(dataset) == 12568
    assert not dataset.has_content
    assert dataset.task == "multilabel"
    assert dataset.class_counts() == {"defect_1": 897, "defect_2": 247, "defect_3": 5150, "defect_4": 801}


def test_groups_are_read_from_the_path(root):
    """The lot is often in the file's name only; `data.group_regex` used to be the folder source's alone."""
    dataset = TableSource(root, label_columns="label", group_regex=r"/(\d{4})\.").load()
    assert dataset.groups == ["0001", "0002", "0003"]
    named = TableSource(root, label_columns="label", group_regex=r"(x)?(?P<group>.)\.")
    assert named.load().groups == ["1", "2", "3"]


def test_groups_of_labels_alone_are_read_from_the_id(tmp_path):
    (tmp_path / "labels.csv").write_text("id,label\na-1,x\na-2,y\nb-1,x\n")
    assert TableSource(tmp_path, group_regex="^(.)-").load().groups == ["a", "a", "b"]


def test_a_path_without_its_group_is_refused_with_its_row(tmp_path):
    (tmp_path / "labels.csv").write_text("id,label\na-1,x\na2,y\n")
    with pytest.raises(DataError) as caught:
        TableSource(tmp_path, group_regex="^(.)-").load()
    assert str(caught.value) == (
        "labels.csv: row 3: expected a name that data.group_regex `^(.)-` matches, got rows that it does not: 1 (a2); "
        "correct the pattern: an image without its group can leak from training into the test"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"group_regex": "^(.)-", "group_column": "coil"},
            "data: expected one way to name the groups, got data.group_column and data.group_regex; leave one",
        ),
        ({"group_regex": "^.-"}, "data.group_regex: expected a group in round brackets around what to take, got `^.-`"),
        ({"group_regex": "("}, "data.group_regex: expected a regular expression, got `(`"),
    ],
)
def test_groups_are_named_in_one_way_that_can_be_read(tmp_path, arguments, message):
    with pytest.raises(ConfigError) as caught:
        TableSource(tmp_path, **arguments)
    assert str(caught.value).startswith(message)
