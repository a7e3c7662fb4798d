"""The demonstration from start to end: two sites with sample content, three mounts, a histogram, a folder that all three share.

Owns the order of the steps and what they must show. Called by ``cli`` and ``python -m cs3fuse.demo``; the mounts are read by
local path only, as any program would, so that it shows (and checks) what a person gets. One demonstration at a time per
process: it sets signal handlers while it runs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from cs3fuse.demo import content, histogram
from cs3fuse.demo.processes import DemoError
from cs3fuse.demo.sharing import show_sharing
from cs3fuse.demo.stage import SITES, Stage, together
from cs3fuse.demo.words import say

PROFILES = ("reva", "opencloud", "eos")
_LOWEST_GEV, _HIGHEST_GEV, _BINS = 60.0, 120.0, 20


def run_demo(check: bool, profile: str = "reva") -> int:
    """Run the demonstration; the exit status: 0 when everything was as it should be, 1 when not.

    Args: ``check`` ends after the last step instead of leaving the mounts up until Ctrl-C; ``profile`` is the server that the
    embedded gateway imitates, one of ``PROFILES``.
    """
    started = time.monotonic()
    try:
        _refuse_what_cannot_work(profile)
        with _interruptible(), Stage(profile) as stage:
            _show(stage)
            if not check:
                # From here on anybody may edit the files: what they hold in the end proves nothing any more.
                stage.edited_to = None
                _leave_up(stage)
        stage.verify_afterwards()
    except DemoError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"demo: a program would have failed here: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped before its end", file=sys.stderr)
        return 130
    print(f"Everything was as it should be ({time.monotonic() - started:.1f} s)." if check else "Unmounted cleanly.")
    return 0


def _refuse_what_cannot_work(profile: str) -> None:
    if profile not in PROFILES:
        raise DemoError(f"there is no profile {profile!r}; use one of {', '.join(PROFILES)}")
    missing = content.missing_libraries()
    if missing:
        raise DemoError(f"the sample files need {', '.join(missing)}; install them with: pip install 'cs3fuse[demo]'")
    if not Path("/dev/fuse").exists():
        raise DemoError(
            "there is no /dev/fuse here, so nothing can be mounted (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
        )
    if shutil.which("fusermount3") is None:
        raise DemoError("fusermount3 is missing; install the package fuse3")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the demonstration the way Ctrl-C does, so that both tidy up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(stage: Stage) -> None:
    first, second = SITES
    homes = [
        *content.write_homes(stage.root_of(first), users=("einstein", "richard")),
        *content.write_homes(stage.root_of(second), users=("marie",)),
    ]
    say(f"Sample content for {', '.join(home.user for home in homes)}: {sum(len(home.files) for home in homes)} files.")
    stage.start_gateways()
    say(
        f"CS3 gateways (profile {stage.profile}) of two sites: {', '.join(f'{site} at {stage.gateways[site].source}' for site in SITES)}."
    )
    who = (("einstein", first), ("richard", first), ("marie", second))
    einstein, richard, marie = together([partial(stage.mount, user, site) for user, site in who])
    say(f"Mounted for {', '.join(mount.user for mount in (einstein, richard, marie))}; einstein's home is {einstein.folder}/home:")
    home = einstein.folder / "home"
    for path in sorted(home.iterdir()):
        print(f"    {path.name}/" if path.is_dir() else f"    {path.name}")
    _show_histogram(home)
    _read_the_other_formats(home)
    show_sharing(stage, einstein, richard, marie)


def _show_histogram(home: Path) -> None:
    import uproot

    path = home / content.ROOT_FILE
    say(f"uproot reads {path}, branch mass of {content.TREE} [GeV]:")
    began = time.monotonic()
    with uproot.open(path) as file:
        mass = file[content.TREE]["mass"].array(library="np")
        again = file[content.NTUPLE]["mass"].array(library="np")
    took = time.monotonic() - began
    masses = histogram.fill(mass.tolist(), low=_LOWEST_GEV, high=_HIGHEST_GEV, bins=_BINS)
    print("\n".join(histogram.draw(masses, only_ascii=not histogram.can_show_blocks(sys.stdout.encoding))))
    print(f"    {len(mass)} events in {took:.2f} s")
    if abs(masses.peak - content.Z_MASS_GEV) > masses.bin_width:
        raise DemoError(f"the peak of {path} is at {masses.peak:.1f} GeV and should be near {content.Z_MASS_GEV}")
    if not (mass == content.columns()["mass"]).all() or not (mass == again).all():
        raise DemoError(f"{path} holds other events than were written into it")


def _read_the_other_formats(home: Path) -> None:
    import h5py
    from pyarrow import parquet

    rows = parquet.read_table(home / content.PARQUET_FILE).num_rows
    with h5py.File(home / content.HDF5_FILE) as file:
        layers = len(file)
    cells = len(json.loads((home / content.NOTEBOOK).read_text())["cells"])
    say(f"By local path as well: {rows} rows of Parquet, {layers} groups of HDF5, a notebook of {cells} cells.")
    if rows != len(content.columns()["mass"]):
        raise DemoError(f"{home / content.PARQUET_FILE} has {rows} rows, which is not what was written into it")


def _leave_up(stage: Stage) -> None:
    say("The mounts stay up; look around from another terminal:")
    for mount in stage.mounts:
        print(f"    {mount.folder}   ({mount.user} at {mount.site})")
    print("Ctrl-C unmounts.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while stage.gateways_run():
            time.sleep(0.5)
        raise DemoError("a gateway ended by itself")
