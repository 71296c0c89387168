"""The ``tuckerseg`` command: exit codes and interruption. The work is in ``commands/``.

Exit codes: 0 done; 1 an error with one clear message; 2 wrong usage; 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import Cancelled, OutputError, TuckerSegError, words_for_shell
from ..files.full_disk import with_full_disk_named
from ..hardware.openvino_converters import leave_out_converters
from ..monitor import Monitor
from ..printable import one_line
from .output import give_up_output, show_json, tell, visible_output
from .parser import build_parser

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
_usual_format = warnings.formatwarning
# Of a task's networks; a plan downloads nothing.
BRING_WHAT_THEY_NEED = (
    "bodyparts",
    "segment",
    "compare",
    "plan",
    "compress",
    "pack",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: None: those that the process was started with. It is then taken to end when this returns.
    """
    quick_end = _QuickEnd()
    if arguments is None:
        atexit.register(quick_end)  # before anything else does, so that it is called last
        warnings.formatwarning = _warning_in_words
        leave_out_converters()
        # PyTorch would look through all installed packages for devices that this program does not use.
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    with visible_output():
        code = _run(arguments)
    give_up_output()
    quick_end.code = code
    return code


def _warning_in_words(
    message: Warning | str, category: type[Warning], filename: str, number: int, line: str | None = None
) -> str:
    """What this program warns of, as a line for its user; what others warn of, as Python shows it."""
    if category is UserWarning and PACKAGE_FOLDER in Path(filename).parents:
        return f"Warning: {one_line(str(message))}\n"
    return _usual_format(message, category, filename, number, line)


class _QuickEnd:
    """Ends the process after everything that is to be done at its end, without taking PyTorch apart: half a second.

    Attributes:
        code: Exit code; None, as after wrong usage: the interpreter ends as it always does.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError, ValueError):  # full, none, or closed
                stream.flush()
        os._exit(self.code)


def _run(arguments: Sequence[str] | None) -> int:
    stopped = _stop_on_signals()
    parser = build_parser(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help(sys.stderr)
        return 2
    # Before torch is imported: its idle threads would spin and take the cores from OpenVINO's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options.monitor = Monitor(cancelled=stopped.is_set)
    try:
        if getattr(options, "model", None) and options.command not in BRING_WHAT_THEY_NEED:
            _bring_model(options)
        if arguments is None and options.command == "segment" and not options.server:
            threading.Thread(target=_look_for_devices, daemon=True).start()
        with _without_garbage_collection(to_stay=arguments is None):
            module = importlib.import_module(f".commands.{options.command}", __package__)
        getattr(module, options.command)(options)
        sys.stdout.flush()
    except (KeyboardInterrupt, Cancelled):
        _exit_stopped(options)
    except BrokenPipeError:  # the reader of our output has gone, as in "| head"
        os._exit(0)
    except Exception as error:
        if stopped.is_set():  # an interrupted import or callback can fail in any way
            _exit_stopped(options)
        error = with_full_disk_named(error)
        if isinstance(error, TuckerSegError):
            return _fail(options, words_for_shell(error))
        return _fail(options, f"Unexpected {type(error).__name__}: {error}. Run again with --debug and report it.")
    return 0


@contextlib.contextmanager
def _without_garbage_collection(to_stay: bool) -> Iterator[None]:
    """Imports make objects by the hundred thousand that stay: to look through them again and again finds nothing.

    Args:
        to_stay: Never look through what was made so far, as what belongs to this process alone; 0.2 s.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if to_stay:
            gc.freeze()
        if enabled:
            gc.enable()


def _look_for_devices() -> None:
    """Ask OpenVINO what this processor computes natively, which it remembers, while the command is imported."""
    from ..hardware import openvino_devices

    openvino_devices.devices()


def _bring_model(options: argparse.Namespace) -> None:
    """Download the model that is asked for, where that is a task of one network that is not on this computer.

    Which networks of several are needed is known only to the run.
    """
    from ..catalog.entries import task
    from .model_download import bring

    catalog_task = task(options.model)
    if catalog_task is not None and len(catalog_task.parts) == 1:
        bring(options.model, options)


def _stop_on_signals() -> threading.Event:
    """Interrupt the main thread on SIGINT and SIGTERM; the event stays set where a library swallows that."""
    stopped = threading.Event()

    def interrupt(number, frame):
        stopped.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)
    return stopped


def _exit_stopped(options: argparse.Namespace) -> NoReturn:
    if getattr(options, "json", False):
        show_json({"event": "stopped"}, indent=None)
    tell("", "Stopped.")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(130)  # at once: threads that read or compute are not waited for


def _fail(options: argparse.Namespace, message: str) -> int:
    if options.debug:
        traceback.print_exc()
    if getattr(options, "json", False):
        with contextlib.suppress(OutputError):  # what cannot be written there is told below
            show_json({"event": "error", "message": message}, indent=None)
    tell(f"tuckerseg: {message}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
