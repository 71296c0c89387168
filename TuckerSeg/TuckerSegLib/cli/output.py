"""Where the command line writes: everything that a person reads goes through here, and nothing of it is obeyed.

Names of labels, files, models and servers reach the terminal in tables, messages, warnings and tracebacks. Instead of
every place that prints, the two streams see to it that what a terminal would obey is shown as an escape, and that what
the stream's encoding does not have is one, too. A line that is rewritten in place goes by.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from ..errors import OutputError
from ..printable import indented, one_line, printable


class VisibleStream:
    """A stream of text that shows what it would otherwise obey; ends of lines stay."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self.write_obeyed(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def write_obeyed(self, text: str) -> None:
        """Write as it is: for what moves the cursor."""
        with _failures_named():
            self._stream.write(_in_encoding(self._stream, text))

    def flush(self) -> None:
        with _failures_named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _failures_named() -> Iterator[None]:
    """Output that cannot be written is an error of its own, which says what of a run is not lost.

    Raises:
        OutputError: As where standard output goes to a full disk.
    """
    try:
        yield
    except BrokenPipeError:  # the reader has gone, which is no error
        raise
    except OSError as error:
        raise OutputError(
            f"What was to be said cannot be written to standard output ({error.strerror or error}). Files that were "
            "written before are whole. Let it go to a place that has room."
        ) from error


def give_up_output() -> None:
    """Let what standard output could not take go nowhere, so that the interpreter does not try once more at its end."""
    try:
        sys.__stdout__.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())
        os.close(nowhere)
    except (AttributeError, ValueError):  # none, or closed
        pass


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Both standard streams as :class:`VisibleStream`."""
    with contextlib.redirect_stdout(VisibleStream(sys.stdout)), contextlib.redirect_stderr(VisibleStream(sys.stderr)):
        yield


def say(*lines: str) -> None:
    """Lines of an answer for a person, on standard output; each stays one line."""
    for line in lines:
        print(one_line(line))


def tell(*messages: str) -> None:
    """What a person should know beside the answer, on standard error."""
    for message in messages:
        print(indented(message), file=sys.stderr)


def show_json(document: Any, indent: int | None = 1) -> None:
    """An answer for a program, on standard output; exact, as JSON escapes what a terminal would obey."""
    print(json.dumps(document, indent=indent), flush=True)


def _in_encoding(stream: TextIO, text: str) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
