"""The sample files: cs3fuse/demo/content.py."""

from __future__ import annotations

import csv
import json

import h5py
import pytest
import uproot
from pyarrow import parquet

from cs3fuse.demo import content, histogram


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """The homes of all users, written once."""
    folder = tmp_path_factory.mktemp("homes")
    return folder, content.write_homes(folder)


def test_every_user_has_a_home_with_a_shared_folder(homes):
    """The three users of all examples."""
    folder, written = homes
    assert [home.user for home in written] == ["einstein", "marie", "richard"]
    for home in written:
        assert f"{content.SHARED_FOLDER}/README.md" in home.files
        assert all((folder / home.user / name).stat().st_size > 0 for name in home.files)


def test_homes_of_some_users_only(tmp_path):
    """Each site has its own users."""
    assert [home.user for home in content.write_homes(tmp_path, users=("marie",))] == ["marie"]
    assert [path.name for path in tmp_path.iterdir()] == ["marie"]


def test_root_file_holds_the_events_as_tree_and_as_ntuple(homes):
    """Both carry the same columns, and the Z stands where it belongs."""
    file = uproot.open(homes[0] / "einstein" / content.ROOT_FILE)
    assert file.classnames() == {"events;1": "TTree", "events_ntuple;1": "ROOT::RNTuple"}
    mass = file[content.TREE]["mass"].array(library="np")
    assert (mass == file[content.NTUPLE]["mass"].array(library="np")).all()
    assert histogram.fill(mass.tolist(), low=60, high=120, bins=20).peak == pytest.approx(content.Z_MASS_GEV, abs=1.5)


def test_parquet_file_holds_the_same_events(homes):
    """In several row groups, so that a reader seeks."""
    file = parquet.ParquetFile(homes[0] / "einstein" / content.PARQUET_FILE)
    assert file.num_row_groups == 4
    assert (file.read(["mass"])["mass"].to_numpy() == content.columns()["mass"]).all()


def test_hdf5_file_has_units(homes):
    """A calibration without units would be none."""
    with h5py.File(homes[0] / "einstein" / content.HDF5_FILE) as file:
        assert sorted(file) == ["layer0", "layer1", "layer2", "layer3"]
        assert file["layer0/gain"].attrs["unit"] == "relative"
        assert file["layer3/gain"][:].mean() == pytest.approx(1.0, abs=0.01)


def test_notebook_is_valid_and_its_code_compiles(homes):
    """Jupyter opens it; what it reads is there."""
    document = json.loads((homes[0] / "einstein" / content.NOTEBOOK).read_text())
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    code = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        compile(cell, "cell", "exec")
    assert content.ROOT_FILE in code[0]


def test_tables_have_a_header_and_rows(homes):
    """Read the way that programs read them."""
    with (homes[0] / "einstein" / content.CSV_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert rows[0] == {"run": "1", "beam_gev": "45.6", "events": "1037"}


def test_same_seed_gives_same_numbers():
    """Another seed gives others."""
    first, again, other = content.columns(1000), content.columns(1000), content.columns(1000, seed=1)
    assert all((first[name] == again[name]).all() for name in first)
    assert not (first["mass"] == other["mass"]).all()


def test_missing_libraries_are_named(monkeypatch):
    """The sentence of the demonstration lists what to install."""
    assert content.missing_libraries() == []
    monkeypatch.setattr(content.importlib.util, "find_spec", lambda name: None if name == "h5py" else object())
    assert content.missing_libraries() == ["h5py"]
