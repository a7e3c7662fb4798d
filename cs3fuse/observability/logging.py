"""The log: structlog on top of the standard library, as console lines or JSON lines.

Owns how events are rendered and what may be in them: secrets never, names of files only at DEBUG. Called once by ``cli`` (or
``app``) through ``configure``; everybody else calls ``structlog.get_logger`` and writes events with fields. Lines of libraries
(grpc, urllib3, pyfuse3, aiohttp) that use the standard library come out in the same form. Safe from every thread: handlers
hold a lock for the time of one line.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import logging.handlers
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_LOG_BYTES = 16 * 1024 * 1024
"""A log file is put aside at this size; two old ones are kept."""

_SECRET_FIELDS = frozenset({"secret", "client_secret", "password", "token", "access_token", "transfer_token", "authorization"})
_NAME_FIELDS = frozenset({"path", "name", "old_name", "new_name", "source", "destination", "target", "location", "conflict_copy"})
_HANDLER_NAME = "cs3fuse"
_CHATTY_LIBRARIES = ("grpc", "urllib3", "aiohttp.access", "asyncio")
# Short names would be replaced inside ordinary words; what is left of such a name tells nobody much.
_SHORTEST_NAME_IN_TEXT = 4


class LogStyle(enum.StrEnum):
    """How a line looks: for people, or one JSON object a line for machines."""

    CONSOLE = "console"
    JSON = "json"


class HideSecrets:
    """Processor: the value of a field that is named like a secret never reaches the log, at no level."""

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Replace such values."""
        for field in _SECRET_FIELDS & event.keys():
            event[field] = "[hidden]"
        return event


class HideNames:
    """Processor: fields that hold names of files become short codes, and so do those names inside other texts of the event.

    Equal names get equal codes within one run, so that lines about one file can be found together; the key of the codes is
    made anew at each start and is not kept, so that nobody can try names against them.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(16)

    def code(self, name: str) -> str:
        """The code of a name: "~" and eight hex digits."""
        return "~" + hashlib.blake2s(name.encode("utf-8", "surrogateescape"), key=self._key, digest_size=4).hexdigest()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Replace the names."""
        codes: dict[str, str] = {}
        for field in _NAME_FIELDS & event.keys():
            name = event[field]
            if name is not None and str(name):
                codes[str(name)] = event[field] = self.code(str(name))
        if codes:
            for field in event.keys() - _NAME_FIELDS:
                if isinstance(event[field], str):
                    event[field] = _replace_names(event[field], codes)
        return event


def _replace_names(text: str, codes: Mapping[str, str]) -> str:
    """Put codes for names in a text; the longest first, so that a folder does not hide the file below it."""
    for name in sorted(codes, key=len, reverse=True):
        if len(name) >= _SHORTEST_NAME_IN_TEXT:
            text = text.replace(name, codes[name])
            last = name.rstrip("/").rpartition("/")[2]
            if len(last) >= _SHORTEST_NAME_IN_TEXT:
                text = text.replace(last, codes[name])
    return text


def configure(
    level: str = "INFO",
    style: LogStyle = LogStyle.CONSOLE,
    *,
    stream: TextIO | None = None,
    log_file: Path | None = None,
) -> None:
    """Set up logging for this process; a second call replaces the first.

    Args: ``level`` is DEBUG, INFO, WARNING or ERROR in any case. ``log_file`` is appended to (mode 0600, put aside at
    ``MAX_LOG_BYTES``) and replaces ``stream``, which is stderr where not given.
    Raises: ValueError for an unknown level, OSError where the file cannot be opened.
    """
    number = level_number(level)
    handler = _handler(stream, log_file)
    shared = _shared_processors(show_names=number <= logging.DEBUG)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(style, handler)],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if old.get_name() == _HANDLER_NAME:
            root.removeHandler(old)
            old.close()
    handler.set_name(_HANDLER_NAME)
    root.addHandler(handler)
    root.setLevel(number)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        # Events below the level cost one call: the filter is built into the logger's methods.
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def level_number(level: str) -> int:
    """The number of a level's name. Raises: ValueError for a name that is none."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or number == logging.NOTSET:
        raise ValueError(f"{level!r} is not a log level; use DEBUG, INFO, WARNING or ERROR")
    return number


def _handler(stream: TextIO | None, file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(stream or sys.stderr)
    # Made first with the mode that it shall keep: the log may tell who works on what.
    file.touch(mode=0o600, exist_ok=True)
    return logging.handlers.RotatingFileHandler(
        file, maxBytes=MAX_LOG_BYTES, backupCount=2, encoding="utf-8", errors="backslashreplace"
    )


def _shared_processors(*, show_names: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Text before names are hidden, so that they are hidden in it too; and never with the values of local variables.
        structlog.processors.format_exc_info,
        HideSecrets(),
        *([] if show_names else [HideNames()]),
    ]


def _renderer(style: LogStyle, handler: logging.Handler) -> list[Processor]:
    if style is LogStyle.JSON:
        return [structlog.processors.JSONRenderer(default=str)]
    stream = getattr(handler, "stream", None)
    is_terminal = isinstance(handler, logging.StreamHandler) and stream is not None and stream.isatty()
    return [structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback)]
