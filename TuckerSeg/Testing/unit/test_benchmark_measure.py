"""A command's time and memory are its own, with its children's; failures and stuck commands are told clearly."""

import sys

import numpy as np
import pytest

from TuckerSegLib.benchmark.measure import measure
from TuckerSegLib.errors import TuckerSegError

pytestmark = pytest.mark.slow

MEBIBYTE = 2**20
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is sampled from /proc")


def python(program: str, **options):
    return measure([sys.executable, "-c", program], **options)


def test_wall_time_and_memory_of_a_child_that_fills_200_mb():
    measured = python("import time; block = b'1' * (200 * 2**20); time.sleep(0.6); print('done')")
    assert 0.6 <= measured.wall_s < 5
    assert 200 * MEBIBYTE < measured.peak_memory_bytes < 300 * MEBIBYTE
    assert measured.output == "done\n"


def test_processor_seconds_are_those_of_work_and_count_what_was_waited_for():
    grandchild = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    waiting = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {grandchild!r}]); time.sleep(0.5)"
    measured = python(waiting)
    assert 0.5 <= measured.processor_s < measured.wall_s


@linux_only
def test_memory_of_two_grandchildren_is_added_up():
    grandchild = "import time; block = b'1' * (100 * 2**20); time.sleep(1.2)"
    measured = python(
        "import subprocess, sys\n"
        f"both = [subprocess.Popen([sys.executable, '-c', {grandchild!r}]) for _ in range(2)]\n"
        "[one.wait() for one in both]"
    )
    assert 200 * MEBIBYTE < measured.peak_memory_bytes < 300 * MEBIBYTE
    assert 100 * MEBIBYTE < measured.largest_process_bytes < 150 * MEBIBYTE


@linux_only
def test_memory_that_forked_children_share_is_counted_once():
    measured = python(
        "import os, time\nblock = b'1' * (200 * 2**20)\nchild = os.fork()\ntime.sleep(1)\nchild and os.wait()"
    )
    assert 200 * MEBIBYTE < measured.peak_memory_bytes < 300 * MEBIBYTE


@linux_only
def test_memory_of_the_caller_is_not_the_childs():
    block = np.ones(300 * MEBIBYTE, dtype=np.uint8)
    measured = python("import time; time.sleep(0.3)")
    assert measured.peak_memory_bytes < 100 * MEBIBYTE < block.nbytes


def test_a_failing_child_is_an_error_with_its_last_lines_and_exit_code():
    program = "import sys; [print(f'line {n}.') for n in range(40)]; sys.exit('no model here')"
    with pytest.raises(TuckerSegError, match="exit code 1") as caught:
        python(program)
    message = str(caught.value)
    assert "no model here" in message and "line 39." in message and "line 3." not in message


def test_a_program_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    with pytest.raises(TuckerSegError, match="no_such_program"):
        measure([tmp_path / "no_such_program"])


def test_a_stuck_command_is_ended_with_its_children():
    with pytest.raises(TuckerSegError, match="after 1 s"):
        python("import subprocess; print('waiting', flush=True); subprocess.run(['sleep', '3000'])", timeout_s=1)
