"""What holds for every test: seeded hypothesis, and which tests run on this machine.

Tests marked ``mount`` are skipped, and counted, where no real mount can be made; with CS3FUSE_REQUIRE_MOUNT=1 a run that
skipped one fails. Tests marked ``live`` need CS3FUSE_LIVE (a TOML file that names a gateway). Tests marked ``slow`` are left
out unless asked for by ``--slow`` or ``-m slow``. HYPOTHESIS_PROFILE=search looks for new examples instead of the seeded ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import hypothesis
import pytest

from tests.support.environment import why_no_live_gateway, why_no_mount

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_NO_MOUNT = why_no_mount()
_NO_LIVE = why_no_live_gateway(os.environ)


class MountCount:
    """How many tests with a real mount ran and were skipped; the reasons of the skipped ones."""

    def __init__(self) -> None:
        self.ran = 0
        self.skipped = 0
        self.reasons: set[str] = set()

    def note(self, report: pytest.TestReport) -> None:
        """Count one report; a test has one per phase, a skip comes in any of them."""
        if "mount" not in report.keywords or "live" in report.keywords:
            return
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped += 1
            where = report.longrepr
            self.reasons.add(str(where[2]).removeprefix("Skipped: ") if isinstance(where, tuple) else str(where))
        elif report.when == "call":
            self.ran += 1

    def line(self) -> str:
        """The line of the summary."""
        why = f" ({'; '.join(sorted(self.reasons))})" if self.reasons else ""
        return f"mount tests: {self.ran} ran, {self.skipped} skipped{why}"


_COUNT = pytest.StashKey[MountCount]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long campaigns (marked slow) too")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COUNT] = MountCount()
    config.pluginmanager.register(_Counter(config.stash[_COUNT]), "cs3fuse-mount-count")


class _Counter:
    """Hands each report to the count."""

    def __init__(self, count: MountCount) -> None:
        self._count = count

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count.note(report)


def pytest_report_header() -> list[str]:
    return [f"real mounts: {_NO_MOUNT or 'possible'}", f"live gateway: {_NO_LIVE or os.environ['CS3FUSE_LIVE']}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if _NO_MOUNT and item.get_closest_marker("mount"):
            item.add_marker(pytest.mark.skip(reason=_NO_MOUNT))
        if _NO_LIVE and item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason=_NO_LIVE))
    if not config.getoption("--slow") and "slow" not in config.option.markexpr:
        _deselect(config, items, [item for item in items if item.get_closest_marker("slow")])


def _deselect(config: pytest.Config, items: list[pytest.Item], unwanted: Iterable[pytest.Item]) -> None:
    left_out = set(unwanted)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    # Outermost, and after the others: the count stands right above pytest's own last line.
    yield
    count = config.stash[_COUNT]
    if count.ran or count.skipped:
        terminalreporter.write_line(count.line())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    count = session.config.stash[_COUNT]
    if os.environ.get("CS3FUSE_REQUIRE_MOUNT") == "1" and count.skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
