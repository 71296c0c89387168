"""The Dockerfiles: what they are made of; where docker runs, ``Testing/peers/test_containers.py`` builds one."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from TuckerSegLib import catalog
from TuckerSegLib.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[3]
MHUB = sorted((ROOT / "Packaging" / "mhub").glob("*/dockerfiles/Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
KNOWN = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "VOLUME", "ENTRYPOINT", "CMD", "LABEL"}


def instructions(path):
    """Instruction and arguments of every line; continued lines are one."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [tuple(line.split(None, 1)) for line in lines]


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", *MHUB], ids=lambda path: path.parent.parent.name)
def test_every_line_is_an_instruction(path):
    found = instructions(path)
    assert {name for name, _ in found} <= KNOWN
    assert [name for name, _ in found if name != "ARG"][0] == "FROM"
    for name, words in found:
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(words))
        if name == "RUN":
            shlex.split(words)  # quotes are closed


@pytest.mark.parametrize("path", MHUB, ids=lambda path: path.parent.parent.name)
def test_mhubs_files_are_as_its_checks_want_them(path):
    model = path.parent.parent.name
    found = instructions(path)
    assert found[0] == ("FROM", "mhubai/base:latest")
    assert ("ARG", "MHUB_MODELS_REPO") in found
    assert ("RUN", f"buildutils/import_mhub_model.sh {model} ${{MHUB_MODELS_REPO}}") in found
    assert found[-2] == ("ENTRYPOINT", '["mhub.run"]')
    assert json.loads(found[-1][1]) == ["--config", f"/app/models/{model}/config/default.yml"]
    assert (path.parents[1] / "config" / "default.yml").is_file()  # what MHub's script puts there


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", *MHUB], ids=lambda path: path.parent.parent.name)
def test_commands_of_ours_that_a_build_runs_are_ones(path):
    parser, words = build_parser(), " && ".join(words for name, words in instructions(path) if name == "RUN")
    for command in (each.split() for each in words.split("&&")):
        if command[0] == "tuckerseg":
            options = parser.parse_args(command[1:])
            assert options.action == "download" and all(map(catalog.task, options.names))
    for extras in re.findall(r"tuckerseg\[([a-z,]+)\]", words):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_command_lines_image_has_what_it_needs_and_runs_as_nobody_special():
    found = instructions(ROOT / "Dockerfile")
    copied = [word for name, words in found if name == "COPY" for word in words.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE.txt", "TuckerSeg"} <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*" and {f"!{name}" for name in copied} <= set(ignored)
    assert any(name == "USER" and words != "root" for name, words in found)
    (base,) = (words for name, words in found if name == "FROM")
    assert re.fullmatch(r"python:3\.1[123]-slim-[a-z]+", base), "a release of Python, of a release of Debian"
    (entry,) = (json.loads(words) for name, words in found if name == "ENTRYPOINT")
    assert entry == ["tuckerseg"] and set(entry) <= set(PROJECT["scripts"])
    module, function = PROJECT["scripts"]["tuckerseg"].split(":")
    assert callable(getattr(importlib.import_module(module), function))
    build_parser()  # whose help is what a container without arguments shows
    assert json.loads(dict(found)["CMD"]) == ["--help"]
