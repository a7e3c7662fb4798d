"""``python -m bench``: measure, show, and write the results. See ``--help``; ``make bench`` passes its variables on."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from bench import gateways, items, report, runner

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAGE_WIDTH = 220


def main() -> int:
    """Run the benchmark. Returns: 0, 1 if something promised does not hold or failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else _PAGE_WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="cs3fuse-bench-", dir=arguments.folder))
    rows: list[runner.Row] = []
    try:
        for profile in arguments.profile:
            with gateways.running(profile, folder, peers=arguments.peers) as gateway:
                rows += _play_all(gateway, folder, arguments, console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = report.Results(rows, arguments.runs, arguments.scale, arguments.latency_ms)
    report.show(results, console)
    if arguments.output is not None:
        stem = report.write(results, arguments.output)
        console.print(f"Written: {arguments.output}/{stem}.json, .md and .svg", highlight=False)
    return 0 if results.everything_holds else 1


def _play_all(gateway: gateways.Gateway, folder: Path, arguments: argparse.Namespace, console: Console) -> list[runner.Row]:
    rows = []
    with (
        runner.stage_of(
            gateway,
            folder / "stage",
            scale=arguments.scale,
            idle_s=arguments.idle_seconds,
            calm_s=arguments.calm_seconds,
            latency_s=arguments.latency_ms / 1000,
        ) as stage,
        console.status("") as status,
    ):
        for item in runner.chosen(items.ALL, arguments.items, gateway):
            where = f"{gateway.profile}: {item.title}"
            tell = partial(_tell, status, where)
            row = runner.play(item, stage, runs=arguments.runs, is_minimal=arguments.minimal, tell=tell)
            rows.append(row)
            console.print(report.line(row), highlight=False)
    return rows


def _tell(status: Status, where: str, step: str) -> None:
    status.update(escape(f"{where}, {step}"))


def _arguments() -> argparse.Namespace:
    names = [item.name for item in items.ALL]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--items", type=_words, default=[], help=f"only these, by comma: {', '.join(names)}")
    parser.add_argument(
        "--profile",
        type=_words,
        default=["reva", "opencloud"],
        help="gateways, by comma: reva, opencloud, eos, live (CS3FUSE_LIVE)",
    )
    parser.add_argument("--runs", type=int, default=3, help="how often each contender does each item; the median counts")
    parser.add_argument("--peers", action="store_true", help="rclone and davfs2 too, where they are installed")
    parser.add_argument("--minimal", action="store_true", help="the minimal mount too: the same libraries without any promise")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink sizes and counts, for a trial; promises nothing then")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long the idle mount is watched [s]")
    parser.add_argument("--calm-seconds", type=float, default=0.0, help="wait so long at most for a calm machine, each time [s]")
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        help="let the embedded gateway wait so long before each answer [ms]; promises nothing then",
    )
    parser.add_argument("--folder", type=Path, default=None, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--output", type=Path, default=None, help="folder for benchmark.json, .md and .svg")
    parser.add_argument("--publish", dest="output", action="store_const", const=_DOCS, help="write into docs/")
    arguments = parser.parse_args()
    if unknown := set(arguments.items) - set(names):
        parser.error(f"there is no item {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if unknown := set(arguments.profile) - {*gateways.EMBEDDED, gateways.LIVE}:
        parser.error(f"there is no profile {', '.join(sorted(unknown))}")
    return arguments


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


if __name__ == "__main__":
    sys.exit(main())
