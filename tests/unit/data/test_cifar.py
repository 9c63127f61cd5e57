"""CIFAR's published forms: one data set whichever is read; files that ask for code are refused, and nothing runs."""

from __future__ import annotations

import os
import pickle
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ringlight.data import cifar_layout
from ringlight.data.cifar import CifarSource, encode_png
from ringlight.data.cifar_pickle import read_pickle
from ringlight.data.content import hash_contents
from ringlight.data.preprocess import read_image
from ringlight.errors import ConfigError, DataError
from ringlight.services.datasets import recognise

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "cifar" / "make.py"))


def loaded(root: Path, make: str = "make_cifar100", labels: Any = "fine", **given: Any) -> Any:
    FAKE[make](root, **given)
    return CifarSource(root, cache=root.parent / "cache", labels=labels).load()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loaded(tmp_path_factory.mktemp("cifar") / "python")


def test_pictures_and_labels_are_those_of_the_archive(python: Any) -> None:
    assert python.classes == FAKE["FINE"]
    assert (python.name, python.task, len(python)) == ("CIFAR-100", "multiclass", 52)
    records = {record.id: record for record in python}
    for part in ("train", "test"):
        pixels, labels = FAKE["parts"]()[part]
        for number in (0, 5, 11):
            record = records[f"{part}/{number:05d}"]
            assert record.split == part
            assert record.labels == (labels[number],)
            wanted = pixels[number].reshape(3, 32, 32).transpose(1, 2, 0)
            assert np.array_equal(read_image(Path(record.uri), in_chans=3), wanted)


@pytest.mark.parametrize(
    ("make", "given"),
    [("make_cifar10", {}), ("make_binary", {"coarse": True}), ("make_binary", {"coarse": False})],
)
def test_each_archive_is_the_same_data_set(tmp_path: Path, python: Any, make: str, given: dict[str, bool]) -> None:
    other = loaded(tmp_path / "other", make, **given)
    assert (other.ids, other.classes) == (python.ids, python.classes)
    assert np.array_equal(other.targets(), python.targets())
    assert hash_contents(other).fingerprint == hash_contents(python).fingerprint


def test_files_are_read_a_part_at_a_time(tmp_path: Path, python: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_layout, "CHUNK", 7)
    assert np.array_equal(loaded(tmp_path / "pickled").targets(), python.targets())
    shutil.rmtree(tmp_path / "cache")
    other = loaded(tmp_path / "other", "make_binary")
    assert hash_contents(other).fingerprint == hash_contents(python).fingerprint
    (one, folder) = cifar_layout.find_layout(tmp_path / "other")
    assert [len(batch.fine) for batch in one.batches(folder / "test.bin")] == [7, 5]


def test_coarse_labels_share_the_pictures(tmp_path: Path) -> None:
    fine = loaded(tmp_path / "data")
    coarse = loaded(tmp_path / "data", labels="coarse")
    assert coarse.classes == FAKE["COARSE"]
    assert np.array_equal(coarse.targets(), np.array(FAKE["OF_FINE"])[fine.targets()])
    assert coarse.uris == fine.uris
    with pytest.raises(ConfigError, match=r"data\.labels: expected fine, .*got coarse for CIFAR-10; leave it out"):
        loaded(tmp_path / "ten", "make_cifar10", labels="coarse")


def test_class_folders_have_the_same_split(tmp_path: Path) -> None:
    folders = loaded(tmp_path / "folders", "make_folders")
    assert folders.classes == FAKE["FINE"]
    assert folders.table.column("split").to_pylist().count("test") == FAKE["NUM_TEST"]
    assert not (tmp_path / "cache").exists()


def test_it_is_unpacked_once_and_found_in_the_folder_it_unpacks_to(tmp_path: Path) -> None:
    FAKE["make_cifar100"](tmp_path / "cifar-100-python")
    source = CifarSource(tmp_path, cache=tmp_path / "cache")
    first = Path(source.load().uris[0])
    before = first.stat().st_mtime_ns
    assert Path(source.load().uris[0]).stat().st_mtime_ns == before
    assert recognise(tmp_path, ["cifar100"]) == ("cifar100", [f"data.root='{tmp_path}'"])
    first.unlink()
    with pytest.raises(DataError, match=r"expected a picture for every label, got none for `train/00000`; .*remove"):
        source.load()


def test_a_picture_as_png_is_the_same_to_every_reader() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    data = encode_png(picture)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1], picture)
    assert encode_png(picture) == data


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_that_asks_for_code_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    FAKE["make_cifar100"](tmp_path / "data")
    for name in ("meta", "train"):
        path = tmp_path / "data" / name
        path.write_bytes(pickle.dumps({b"data": Harmful()}, protocol=protocol))
        with pytest.raises(DataError) as caught:
            CifarSource(tmp_path / "data", cache=tmp_path / "cache").load()
        assert str(caught.value) == (
            f"{path}: expected a pickle of arrays, text and numbers, got one that asks for `posix.system`; nothing of "
            "it was executed; get the file from its publisher again, or use the binary version"
        )
        FAKE["make_cifar100"](tmp_path / "data")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(np.array([Harmful], object)),
        pickle.dumps(eval),
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nVtofile\ntR.",
        b"\x80\x02c__builtin__\neval\nU\x011\x85R.",
        b"cnumpy\nload\n.",
        b"Pelsewhere\n.",
        b"\x82\x01.",
    ],
)
def test_no_other_name_is_looked_up(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match="batch: expected a pickle"):
        read_pickle(tmp_path / "batch")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_files_that_were_pickled_again_are_read(tmp_path: Path, protocol: int) -> None:
    content = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "fine_labels": [1, 2], b"text": b"\xff\x00"}
    (tmp_path / "batch").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(tmp_path / "batch")
    assert np.array_equal(found[b"data"], content[b"data"])
    assert (found[b"fine_labels"], found[b"text"]) == ([1, 2], b"\xff\x00")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _relabel(key: str, value: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        pixels, labels = FAKE["pictures"](8, 0)
        content = {"data": pixels, "fine_labels": labels, "coarse_labels": [0] * 8, key: value}
        FAKE["write_pickle"](path, {name: each for name, each in content.items() if each is not None})

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_cut, "train: expected a pickled batch of CIFAR, got pickle data was truncated; unpack the archive again"),
        (lambda path: path.write_bytes(b"no pickle"), "train: expected a pickled batch of CIFAR, got"),
        (lambda path: path.unlink(), "expected all files of cifar-100-python, got all but 1 (train); unpack"),
        (_relabel("data", None), "train: expected bytes (N, 3072) under `data`, got none;"),
        (_relabel("fine_labels", [1]), "train: expected 8 whole numbers under `fine_labels`, got 1 values;"),
        (_relabel("coarse_labels", None), "train: expected 8 whole numbers under `coarse_labels`, got none;"),
        (_relabel("fine_labels", [9] * 8), "train: expected fine labels from 0 to 3, the named classes, got 9 to 9;"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, change: Callable[[Path], None], line: str) -> None:
    FAKE["make_cifar100"](tmp_path / "data")
    change(tmp_path / "data" / "train")
    with pytest.raises(DataError) as caught:
        CifarSource(tmp_path / "data", cache=tmp_path / "cache").load()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


def test_a_binary_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    FAKE["make_binary"](tmp_path / "data")
    _cut(tmp_path / "data" / "train.bin")
    with pytest.raises(DataError, match=r"train\.bin: expected one picture or more of 3074 bytes each, got 122760 byt"):
        CifarSource(tmp_path / "data", cache=tmp_path / "cache").load()


def test_an_archive_is_told_how_to_be_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(b"")
    for root in (archive, tmp_path):
        with pytest.raises(DataError) as caught:
            CifarSource(root).load()
        assert "got the archive cifar-100-python.tar.gz; unpack it (tar -xf cifar-100-python.tar.gz) and set" in str(
            caught.value
        )


def test_two_data_sets_in_a_folder_are_refused(tmp_path: Path) -> None:
    FAKE["make_cifar100"](tmp_path / "cifar-100-python")
    shutil.copytree(tmp_path / "cifar-100-python", tmp_path / "other")
    FAKE["make_cifar10"](tmp_path / "cifar-10-batches-py")
    with pytest.raises(
        DataError, match=r"expected one data set, got 2 \(cifar-10-batches-py, cifar-100-python\); set data"
    ):
        CifarSource(tmp_path).load()
