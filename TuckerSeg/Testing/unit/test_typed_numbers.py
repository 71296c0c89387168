"""Numbers as they are typed: every numeric option takes numbers with an end and refuses the rest in one sentence."""

from __future__ import annotations

import argparse

import pytest

from TuckerSegLib.cli.main import main
from TuckerSegLib.cli.parser import build_parser

NOT_WHOLE = ["nan", "inf", "-inf", "1e3", "1.5", "", "²", "9" * 30, "9" * 5000, "-" + "9" * 30, "\x1b[2J"]
NOT_REAL = ["nan", "inf", "-inf", "1e999", "1e300", "-1e300", "", "²", "9" * 5000, "\x1b[2J"]


def numeric_options():
    """Sub-command, option and kind of number of every option that takes one."""
    commands = next(each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            if action.type is not None:
                yield name, command, action


OPTIONS = list(numeric_options())


def test_no_option_takes_python_s_own_numbers():
    assert len(OPTIONS) > 30
    assert {action.type.__name__ for _, _, action in OPTIONS} == {"whole", "real"}


@pytest.mark.parametrize(
    ("command", "action"), [(c, a) for _, c, a in OPTIONS], ids=[f"{n} {a.option_strings[0]}" for n, _, a in OPTIONS]
)
def test_what_is_no_number_is_refused_in_a_sentence(command, action):
    for text in NOT_WHOLE if action.type.__name__ == "whole" else NOT_REAL:
        with pytest.raises(argparse.ArgumentError, match="was expected; found") as caught:
            command._get_value(action, text) if text else command._get_value(action, " ")
        assert len(str(caught.value)) < 200 and "\x1b" not in str(caught.value)
    assert command._get_value(action, "1") == 1


def test_a_time_is_not_negative(capsys, tmp_path):
    assert main(["worker", "--workspace", str(tmp_path), "--idle", "-1"]) == 1
    assert "idle seconds should be 0 or more; found -1" in capsys.readouterr().err
