"""What the command line prints: nothing of a name is obeyed by a terminal, and every encoding will do."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.unit.records_of_a_run import STATISTICS
from TuckerSegLib.cli.main import main
from TuckerSegLib.cli.output import VisibleStream, say, show_json, tell, visible_output
from TuckerSegLib.cli.terminal import TerminalReporter
from TuckerSegLib.errors import ImageError
from TuckerSegLib.records import quality_report
from TuckerSegLib.records.statistics import Structure, as_table, structure_table

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
EVIL = "liver\x1b[2J\x1b]0;owned\x07\u202e\u200b\r\nWritten: nothing"
SHOWN = r"liver\x1b[2J\x1b]0;owned\x07\u202e\u200b\r\nWritten: nothing"


def obeyed(text: str) -> set[str]:
    """Characters of a text that a terminal would obey, or that nobody would see."""
    return {character for character in text if not character.isprintable()} - {"\n"}


def test_lines_of_an_answer_stay_lines(capsys):
    with visible_output():
        say(EVIL, "next")
        tell(EVIL)
        print(EVIL, file=sys.stderr)
        sys.stderr.writelines([EVIL])
    told = capsys.readouterr()
    assert told.out == f"{SHOWN}\nnext\n"
    assert not obeyed(told.err) and "\\x1b[2J" in told.err
    assert "\n  Written: nothing" in told.err
    assert not isinstance(sys.stdout, VisibleStream)


def test_json_stays_exact(capsys):
    with visible_output():
        show_json({"name": EVIL})
    assert json.loads(capsys.readouterr().out) == {"name": EVIL}


def test_a_stream_of_another_encoding_gets_escapes():
    beneath = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    VisibleStream(beneath).write("Größe 肝臓 \udc80 …\n")
    VisibleStream(beneath).write_obeyed("\x1b[K肝\n")
    beneath.flush()
    assert beneath.buffer.getvalue().decode("cp1252") == "Größe \\u809d\\u81d3 \\udc80 …\n\x1b[K\\u809d\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_status_line_moves_the_cursor_and_its_names_do_not(wrapped):
    terminal = Terminal()
    reporter = TerminalReporter(VisibleStream(terminal) if wrapped else terminal)
    reporter({"event": "stage", "stage": EVIL, "part": 1, "parts": 2, "part_name": EVIL})
    reporter({"event": "progress", "stage": EVIL, "done": 2, "total": 2})
    reporter({"event": "log", "message": EVIL})
    reporter.close()
    written = terminal.getvalue()
    assert written.count("\r\x1b[K") == 4
    assert obeyed(written.replace("\r\x1b[K", "")) == set()
    assert "\nWritten" not in written


def test_tables_keep_a_name_in_its_line():
    statistics = dataclasses.replace(
        STATISTICS, model=EVIL, volume=EVIL, device_name=EVIL, notes=(EVIL,), structures=(Structure(3, EVIL, 1.0),)
    )
    for text in (as_table(statistics), structure_table(statistics)):
        assert SHOWN in text and not obeyed(text)
        assert not any(line.startswith("Written") for line in text.split("\n"))
    report = quality_report.QualityReport((quality_report.Finding("code", quality_report.WARNING, EVIL),))
    assert SHOWN in quality_report.as_text(report)


@pytest.mark.parametrize("error", [ImageError(EVIL), KeyError(EVIL), UnicodeDecodeError("utf-8", b"\xff", 0, 1, EVIL)])
@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_errors_of_all_kinds_are_shown_and_not_obeyed(capsys, monkeypatch, error, options):
    def fail(options):
        raise error

    monkeypatch.setattr("TuckerSegLib.cli.commands.devices.devices", fail)
    assert main(["devices", *options]) == 1
    assert not obeyed(capsys.readouterr().err)


def test_what_was_typed_wrong_is_shown_and_not_obeyed(capsys):
    with pytest.raises(SystemExit):
        main([EVIL])
    assert "invalid choice" in (told := capsys.readouterr().err) and not obeyed(told)
    assert main(["inspect", "--model", EVIL]) == 1
    assert not obeyed(capsys.readouterr().err)


def test_a_pipe_of_a_small_encoding_gets_everything(tmp_path):
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "", "TUCKERSEG_MODELS_DIR": str(tmp_path / "肝臓\udc80")}
    done = subprocess.run(
        [sys.executable, "-m", "TuckerSegLib", "models"],
        cwd=LIBRARY_FOLDER,
        capture_output=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u809d\u81d3" in done.stdout
