"""Names that are the same after the next mount."""

from __future__ import annotations

from cs3fuse.mesh.names import NameBook


def test_names_outlive_the_process(tmp_path):
    """What one book learnt the next one knows."""
    NameBook(tmp_path).learn({"a": "Dätén ☃"})
    assert dict(NameBook(tmp_path)) == {"a": "Dätén ☃"}


def test_damaged_file_is_an_empty_book(tmp_path):
    """Neither broken JSON nor another shape stops a mount."""
    for text in ("{", "[1]", '"x"'):
        (tmp_path / "names.json").write_text(text)
        assert dict(NameBook(tmp_path)) == {}


def test_without_a_folder_nothing_is_kept():
    """Only for this run."""
    book = NameBook(None)
    book["a"] = "A"
    assert book["a"] == "A"


def test_unwritable_folder_is_no_failure(tmp_path):
    """Stability is lost, nothing else."""
    book = NameBook(tmp_path / "none")
    book.learn({"a": "A"})
    assert book["a"] == "A"
