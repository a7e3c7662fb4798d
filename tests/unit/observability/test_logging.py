"""What reaches the log and how it looks: cs3fuse/observability/logging.py."""

from __future__ import annotations

import io
import json
import logging
import stat

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.observability.logging import HideNames, LogStyle, configure, level_number


@pytest.fixture(autouse=True)
def leave_logging_as_it_was():
    """Other tests get the handlers, level and structlog set-up that they would have had without these tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(level="INFO", style=LogStyle.JSON):
    stream = io.StringIO()
    configure(level, style, stream=stream)
    return stream


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line_carries_event_fields_level_logger_and_context():
    """One event is one JSON object with everything that was bound around it."""
    stream = logged()
    structlog.contextvars.bind_contextvars(req=7, op="read")
    structlog.get_logger("cs3fuse.kernel").warning("request refused", ino=12, errno="ESTALE")
    (event,) = events(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "request refused",
        "level": "warning",
        "logger": "cs3fuse.kernel",
        "req": 7,
        "op": "read",
        "ino": 12,
        "errno": "ESTALE",
    }


def test_console_line_is_plain_text_when_it_is_no_terminal():
    """No escape sequences reach a file or a pipe."""
    stream = logged(style=LogStyle.CONSOLE)
    structlog.get_logger("cs3fuse").info("mount answers", ino=1)
    assert "mount answers" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_events_below_the_level_are_left_out():
    """INFO shows no DEBUG."""
    stream = logged("INFO")
    structlog.get_logger().debug("lookup")
    structlog.get_logger().info("mounted")
    assert [event["event"] for event in events(stream)] == ["mounted"]


def test_names_of_files_become_codes_above_debug():
    """Neither the field nor a sentence nor a traceback shows the name; equal names stay recognisable."""
    stream = logged("INFO")
    log = structlog.get_logger()
    try:
        raise ValueError("cannot read /home/diary.txt")
    except ValueError:
        log.exception("failed", path="/home/diary.txt", reason="somebody changed /home/diary.txt, see diary.txt")
    log.warning("again", path="/home/diary.txt", reason="x")
    first, second = events(stream)
    assert "diary" not in stream.getvalue()
    assert first["path"] == second["path"]
    assert first["path"].startswith("~")
    assert first["reason"] == f"somebody changed {first['path']}, see {first['path']}"
    assert first["path"] in first["exception"]


def test_names_of_files_are_shown_at_debug():
    """Who asks for DEBUG gets the names, in every line."""
    stream = logged("DEBUG")
    structlog.get_logger().warning("conflict", path="/home/diary.txt")
    assert events(stream)[0]["path"] == "/home/diary.txt"


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_secrets_never_reach_the_log(level):
    """At no level."""
    stream = logged(level)
    structlog.get_logger().info("signed in", user="einstein", token="relativity", secret="relativity")
    assert "relativity" not in stream.getvalue()
    assert events(stream)[0]["user"] == "einstein"


def test_local_variables_stay_out_of_tracebacks():
    """A traceback names the lines, never the values that the variables had."""
    stream = logged("DEBUG")
    hidden = "relat" + "ivity"  # in two pieces: the traceback quotes this line
    try:
        raise ValueError(len(hidden))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError: 10" in events(stream)[0]["exception"]
    assert "relativity" not in stream.getvalue()


def test_lines_of_libraries_have_the_same_form():
    """A library's own logger comes out as an event; talkative ones only from WARNING on."""
    stream = logged("INFO")
    logging.getLogger("pyfuse3").info("session %s", "open")
    logging.getLogger("urllib3.connectionpool").info("starting connection")
    (event,) = events(stream)
    assert (event["event"], event["logger"], event["level"]) == ("session open", "pyfuse3", "info")


def test_second_configure_replaces_the_first():
    """No line comes out twice, and handlers of others stay."""
    first = logged()
    others = [handler for handler in logging.getLogger().handlers if handler.get_name() != "cs3fuse"]
    second = logged()
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(events(second)) == 1
    assert [handler for handler in logging.getLogger().handlers if handler.get_name() != "cs3fuse"] == others


def test_file_is_private_and_appended_to(tmp_path):
    """The log file is for its owner only and survives a restart."""
    file = tmp_path / "mount.log"
    for word in ("first", "second"):
        configure(style=LogStyle.JSON, log_file=file)
        structlog.get_logger().info(word)
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["first", "second"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("level", ["LOUD", "", "NOTSET", "5"])
def test_unknown_level_is_refused(level):
    """The sentence says what would do."""
    with pytest.raises(ValueError, match="use DEBUG, INFO, WARNING or ERROR"):
        level_number(level)


@given(name=st.text(min_size=4), other=st.text(min_size=1))
def test_codes_are_equal_exactly_for_equal_names(name, other):
    """Within a run a code stands for one name; two runs share none."""
    hide = HideNames(b"key")
    assert (hide.code(name) == hide.code(other)) == (name == other)
    assert HideNames(b"other key").code(name) != hide.code(name)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=4).filter(lambda name: "~" not in name),
    before=st.text(),
    after=st.text(),
)
def test_name_is_gone_from_every_text(name, before, after):
    """Wherever the name stands in another field, it is replaced there too."""
    event = HideNames(b"key")(None, "info", {"event": "x", "path": name, "reason": before + name + after})
    code = HideNames(b"key").code(name)
    assert name not in event["reason"].replace(code, "~")
    assert event["path"] == code
