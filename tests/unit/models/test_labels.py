"""Test class names."""

import pytest

from hubserve.errors import InvalidInput
from hubserve.models.labels import check_labels, read_labels, write_labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 tench, Tinca tinca\n2 shark\n", {0: "tench, Tinca tinca", 2: "shark"}),
        ("cat\ndog\n\n", {0: "cat", 1: "dog"}),
        ("\ufeffcat\n\ndog", {0: "cat", 1: "", 2: "dog"}),
        ("0\n1\n2\n", {0: "0", 1: "1", 2: "2"}),
        ("3 little pigs\nwolf\n", {0: "3 little pigs", 1: "wolf"}),
        ("猫\n狗\n", {0: "猫", 1: "狗"}),
    ],
)
def test_names_are_read_in_either_form_and_written_in_one(tmp_path, text, labels):
    path = tmp_path / "labels.txt"
    path.write_text(text, "utf-8")
    assert read_labels(path) == labels
    write_labels(path, {number: name or "-" for number, name in labels.items()})
    assert read_labels(path) == {number: name or "-" for number, name in labels.items()}


@pytest.mark.parametrize(("text", "words"), [(b"", "empty"), (b"\n\n", "empty"), (b"1 a\n1 b\n", "twice"), (b"\xff\xfe", "UTF-8")])
def test_a_file_without_names_is_refused(tmp_path, text, words):
    (tmp_path / "labels.txt").write_bytes(text)
    with pytest.raises(InvalidInput, match=words):
        read_labels(tmp_path / "labels.txt")
    with pytest.raises(InvalidInput, match="none.txt"):
        read_labels(tmp_path / "none.txt")


def test_names_for_more_classes_than_there_are_are_refused():
    check_labels({9: "last"}, 10)
    check_labels({9: "last"}, -1)
    with pytest.raises(InvalidInput, match="name class 10, but the model has 10 classes, 0 to 9"):
        check_labels({10: "beyond"}, 10)
