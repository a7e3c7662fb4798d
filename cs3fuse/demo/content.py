"""Sample content for three users: what a small physics group keeps in its folders.

Owns the files that the demonstration and the tests read: a notebook, tables, and one set of events as ROOT, Parquet and HDF5.
Called by ``demo.run`` and by tests; writes ordinary local files and knows nothing of mounts. The same seed gives the same
numbers. Needs the ``demo`` extra (uproot, h5py, pyarrow), imported late so that the command line stays fast without it.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USERS = ("einstein", "marie", "richard")
SHARED_FOLDER = "shared"
"""In each home: the folder that the others are shown."""
ROOT_FILE = "data/dimuons.root"
PARQUET_FILE = "data/dimuons.parquet"
HDF5_FILE = "data/calibration.h5"
CSV_FILE = "data/runs.csv"
NOTEBOOK = "notebooks/z-boson.ipynb"
MINUTES = f"{SHARED_FOLDER}/minutes.md"

TREE = "events"
NTUPLE = "events_ntuple"
Z_MASS_GEV = 91.19
"""Where the peak of the ``mass`` column lies."""

_SEED = 1905
_EVENTS = 40_000
_NEEDED = ("uproot", "awkward", "numpy", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class Home:
    """One user's files: paths are relative to the folder of the user."""

    user: str
    files: tuple[str, ...]


def missing_libraries() -> list[str]:
    """The libraries of the ``demo`` extra that are not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def columns(events: int = _EVENTS, seed: int = _SEED) -> dict[str, Any]:
    """Columns of muon pairs: a Z peak over a falling background, as numpy arrays of ``events`` rows.

    ``mass`` [GeV] lies between 60 and 120; the rest is what an event of that kind carries along.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    signal = int(events * 0.7)
    # The natural width of the Z (half of it is Cauchy's scale) seen by a detector that measures to 1.5 GeV.
    peak = Z_MASS_GEV + 1.25 * random.standard_cauchy(4 * signal) + 1.5 * random.standard_normal(4 * signal)
    peak = peak[(peak > 60) & (peak < 120)][:signal]
    background = 60 + random.exponential(25.0, 4 * events)
    background = background[background < 120][: events - len(peak)]
    mass = np.concatenate([peak, background])
    random.shuffle(mass)
    return {
        "mass": mass.astype(np.float32),
        "pt": random.exponential(18.0, events).astype(np.float32),
        "rapidity": random.normal(0.0, 1.2, events).astype(np.float32),
        "charge": random.choice(np.array([-1, 0, 1], dtype=np.int32), events, p=[0.02, 0.96, 0.02]),
        "event": np.arange(events, dtype=np.int64),
    }


def write_homes(folder: Path, users: Sequence[str] = USERS) -> list[Home]:
    """Write the homes of these users below ``folder``, one folder each.

    Raises: OSError where a file cannot be written, ModuleNotFoundError without the ``demo`` extra.
    """
    writers = {"einstein": lambda home: _write_einstein(home, columns()), "marie": _write_marie, "richard": _write_richard}
    homes = []
    for user in users:
        home = folder / user
        shared = home / SHARED_FOLDER
        shared.mkdir(parents=True, exist_ok=True)
        (shared / "README.md").write_text(f"# Shared by {user}\n\nEverybody in the group may read and write here.\n")
        writers[user](home)
        files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
        homes.append(Home(user, tuple(files)))
    return homes


def _write_einstein(home: Path, data: Mapping[str, Any]) -> None:
    for name in ("data", "notebooks"):
        (home / name).mkdir(exist_ok=True)
    write_root(home / ROOT_FILE, data)
    write_parquet(home / PARQUET_FILE, data)
    write_hdf5(home / HDF5_FILE)
    _write_csv(home / CSV_FILE, ("run", "beam_gev", "events"), [(run, 45.6, 1000 + 37 * run) for run in range(1, 21)])
    write_notebook(home / NOTEBOOK)
    (home / MINUTES).write_text("# Minutes\n\n- einstein: the peak is where it should be\n")


def _write_marie(home: Path) -> None:
    (home / "lab").mkdir(exist_ok=True)
    rows = [(f"sample {number}", round(0.5 * 2 ** (-number / 4), 6)) for number in range(24)]
    _write_csv(home / "lab" / "activity.csv", ("sample", "activity_mbq"), rows)
    (home / SHARED_FOLDER / "safety.md").write_text("# Safety\n\nWear the dosimeter.\n")


def _write_richard(home: Path) -> None:
    (home / "lectures").mkdir(exist_ok=True)
    (home / "lectures" / "helium.md").write_text("# Helium\n\nBelow 2.17 K it flows without friction.\n")
    _write_csv(
        home / SHARED_FOLDER / "viscosity.csv",
        ("kelvin", "relative"),
        [(round(1.5 + step / 10, 1), step / 12) for step in range(13)],
    )


def write_root(path: Path, data: Mapping[str, Any]) -> None:
    """A ROOT file with the same columns twice: as TTree ``TREE`` and as RNTuple ``NTUPLE``."""
    import uproot

    with uproot.recreate(path) as file:
        file.mktree(TREE, {name: column.dtype for name, column in data.items()}).extend(dict(data))
        file.mkrntuple(NTUPLE, dict(data))


def write_parquet(path: Path, data: Mapping[str, Any]) -> None:
    """The columns as a Parquet file of a few row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(data)), path, row_group_size=10_000)


def write_hdf5(path: Path) -> None:
    """A calibration: one chunked, compressed table per detector layer, with units as attributes."""
    import h5py
    import numpy as np

    random = np.random.default_rng(_SEED)
    with h5py.File(path, "w") as file:
        for layer in range(4):
            gains = file.create_dataset(
                f"layer{layer}/gain", data=random.normal(1.0, 0.02, (64, 64)), chunks=(16, 64), compression="gzip"
            )
            gains.attrs["unit"] = "relative"


def write_notebook(path: Path) -> None:
    """A notebook that reads the ROOT file beside it; nbformat 4.5, without output."""
    cells = [
        _cell("markdown", "title", "# Muon pairs\n\nThe mass of the Z, read from the folder next door."),
        _cell(
            "code",
            "read",
            f'import uproot\n\nmass = uproot.open("../{ROOT_FILE}")["{TREE}"]["mass"].array(library="np")\nlen(mass)',
        ),
        _cell("code", "mean", "mass[(mass > 86) & (mass < 96)].mean()"),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(document, indent=1) + "\n")


def _cell(kind: str, identifier: str, source: str) -> dict[str, object]:
    cell: dict[str, object] = {"cell_type": kind, "id": identifier, "metadata": {}, "source": source.splitlines(keepends=True)}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
