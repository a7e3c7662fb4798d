"""The program of work, in the order in which it is reported."""

from __future__ import annotations

from bench.items.base import Item
from bench.items.idle import IdleMount
from bench.items.names import ListCold, ListWarm, WalkCold
from bench.items.reading import ManyReaders, OneBranch, OneRange, SequentialCold, SequentialRestarted, SequentialStored, SmallFiles
from bench.items.writing import CreateInBackground, CreateSmall, LargeWrite, MemoryOfWrites, NotebookSaves, ReplacingSaves

ALL: tuple[type[Item], ...] = (
    SequentialCold,
    SequentialStored,
    SequentialRestarted,
    OneRange,
    OneBranch,
    ListCold,
    ListWarm,
    WalkCold,
    SmallFiles,
    ManyReaders,
    LargeWrite,
    CreateSmall,
    CreateInBackground,
    NotebookSaves,
    ReplacingSaves,
    MemoryOfWrites,
    IdleMount,
)
