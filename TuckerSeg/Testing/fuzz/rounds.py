"""Plays a target: draws cases, gives each to the target under the guard, and keeps what was found."""

from __future__ import annotations

import math
import os
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from guard import Guard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from samples import Samples, fresh
from targets import target

LIBRARY = "TuckerSegLib"
SHRINKING_S = 20  # after the first failure of a round; then the smallest cases until then are told
DATABASE = Path(__file__).resolve().parents[3] / ".hypothesis"


@dataclass
class Found:
    """What a target's rounds found.

    Attributes:
        examples: How many cases were given to it.
        results: How many of them gave a result; the others were refused.
        failures: By the place where it went wrong: what happened, with the smallest case that shows it.
    """

    examples: int = 0
    results: int = 0
    failures: dict[str, str] = field(default_factory=dict)


class Rounds:
    """Plays targets, one after the other, in this process.

    Args:
        folder: Empty; the valid inputs and the damaged ones lie there.
        last_case: File in which the case that is being tried is written down, should the process die of it.
    """

    def __init__(self, folder: Path, guard: Guard, last_case: Path):
        self._samples = Samples(folder / "samples")
        self._samples.folder.mkdir()
        self._place, self._elsewhere = folder / "place", folder / "elsewhere"
        self._elsewhere.mkdir()
        os.chdir(self._elsewhere)  # a file that is written without a folder is written outside of the input's
        self._guard, self._last_case = guard, last_case
        self.found: dict[str, Found] = {}

    def prepare(self, name: str) -> None:
        """Try the cases without damage, which must give results; what is imported for them is there afterwards."""
        module = target(name)
        module.cases(self._samples)
        for case in module.UNDAMAGED:
            if module.check(case, self._samples, self._fresh_place()) is None:
                raise AssertionError(f"{name}: a case without damage is refused: {case}")

    def play(self, name: str, examples: int, seed: int | None = None) -> None:
        """Try a number of cases.

        Args:
            seed: None: the same cases every time.
        """
        module, found = target(name), self.found.setdefault(name, Found())
        known = set(found.failures)
        smallest: dict[str, str] = {}
        shrunk_at = math.inf

        def try_case(case: Any) -> None:
            nonlocal shrunk_at
            if time.monotonic() > shrunk_at:
                return
            self._last_case.write_text(f"{name} {case!r}", encoding="utf-8", errors="backslashreplace")
            found.examples += 1
            place = self._fresh_place()
            try:
                with self._guard.watching(place, case):
                    result = module.check(case, self._samples, place)
                found.results += result is not None
            except Exception as error:
                where = _signature(error)
                if where in known:  # it was told of already; look for others
                    return
                shrunk_at = min(shrunk_at, time.monotonic() + SHRINKING_S)
                smallest[where] = f"{_words(error)}\ncase of {name}: {case!r}"
                raise

        for case in module.EXAMPLES:
            try_case = hypothesis.example(case)(try_case)
        test = given(case=module.cases(self._samples))(try_case)
        if seed is not None:
            test = hypothesis.seed(seed)(test)
        try:
            settings(
                max_examples=examples,
                deadline=None,  # a clock of its own, see Guard
                derandomize=seed is None,
                database=None if seed is None else DirectoryBasedExampleDatabase(DATABASE),
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
                print_blob=False,
                verbosity=hypothesis.Verbosity.quiet,
            )(test)()
        except BaseException as error:
            if not smallest or isinstance(error, KeyboardInterrupt):
                raise
        found.failures |= smallest

    def _fresh_place(self) -> Path:
        place = fresh(self._place)
        os.environ["TUCKERSEG_CACHE_DIR"] = str(place / "cache")
        os.environ["TUCKERSEG_MODELS_DIR"] = str(place / "models")
        return place


def _signature(error: BaseException) -> str:
    """Where it went wrong: the kind of error and the last place in the program, else in the fuzzer."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if LIBRARY in frame.filename] or frames
    words = str(error)[:40] if type(error).__name__ in ("Finding", "AssertionError") else ""
    return f"{type(error).__name__} at {Path(inside[-1].filename).name}:{inside[-1].lineno} {words}".strip()


def _words(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    text = "".join(lines)
    return text if len(text) < 6000 else f"{text[:2000]}\n...\n{text[-4000:]}"
