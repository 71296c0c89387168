"""Errors are shown in a terminal, in a panel and by programs: words of the command line stand apart from the rest."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import ModelFolderError, TuckerSegError, words_for_shell

LIBRARY = Path(__file__).resolve().parents[2] / "TuckerSegLib"
# Parts that nobody else enters; options of methods; and what logs how it calls pip.
OF_THE_COMMAND_LINE = re.compile(r"cli/|benchmark/|compression/\w+/options\.py|slicer_bridge/installation/install\.py")
COMMAND_WORDS = re.compile(r"(?<![\w.-])--[a-z]|(?<!\.)\btuckerseg [a-z]|\bpip install\b|TUCKERSEG_MODELS_DIR")


def texts(tree):
    """Every text of a module but docstrings and what is said to the command line alone."""
    apart = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg in ("shell", "help"):
            apart.update(ast.walk(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in apart:
            yield node


def test_words_of_the_command_line_are_in_no_other_text():
    wrong = []
    for path in sorted(LIBRARY.rglob("*.py")):
        place = path.relative_to(LIBRARY).as_posix()
        if OF_THE_COMMAND_LINE.match(place):
            continue
        for node in texts(ast.parse(path.read_text(encoding="utf-8"))):
            sentence = " " in node.value.strip()  # else it is an argument or the name of a variable
            if sentence and COMMAND_WORDS.search(node.value):
                wrong.append(f"{place}:{node.lineno}: {node.value.strip()}")
    assert wrong == []


def test_the_command_line_adds_what_to_type_whoever_has_wrapped_the_error(capsys):
    assert main(["inspect", "--model", "/nowhere/xyz"]) == 1
    assert "'tuckerseg models' lists the names." in capsys.readouterr().err
    try:
        try:
            raise ModelFolderError("No such model.", shell="'tuckerseg models' lists them.")
        except ModelFolderError as error:
            raise TuckerSegError(f"Part 2: {error}") from error
    except TuckerSegError as error:
        assert str(error) == "Part 2: No such model."
        assert words_for_shell(error) == "Part 2: No such model. 'tuckerseg models' lists them."


@pytest.mark.parametrize("name", ["face", "total_fast", "/nowhere/xyz"])
def test_others_are_told_in_words_of_their_own(name, own_models):
    from TuckerSegLib.model_zoo import locate

    with pytest.raises(TuckerSegError) as told:
        locate(name)
    assert not COMMAND_WORDS.search(str(told.value))
