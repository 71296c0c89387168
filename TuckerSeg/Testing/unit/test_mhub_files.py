"""The folders for MHub: what its compliance checks ask of them, and their runners with a stand-in for mhubio."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from Testing.unit import mhubio_standin
from TuckerSegLib.catalog.entries import task

ROOT = Path(__file__).resolve().parents[3]
MHUB = ROOT / "Packaging" / "mhub"
MODELS = ("tuckerseg", "tuckerseg_ct_utility")
RUNNERS = {"tuckerseg": "TuckerSegRunner", "tuckerseg_ct_utility": "CtUtilityRunner"}
TEXT, FLAG, WHOLE = str, bool, int
SECTION = {"title": TEXT, "text": TEXT}
# What MHub's meta.schema.json asks for, MHubAI/models of January 2026: fields that have to be there, and their types
SCHEMA = {
    "id": TEXT,
    "name": TEXT,
    "title": TEXT,
    "summary": {
        "description": TEXT,
        "inputs": [{
            "label": TEXT, "description": TEXT, "format": TEXT, "modality": TEXT, "bodypartexamined": TEXT,
            "slicethickness": TEXT, "non-contrast": FLAG, "contrast": FLAG,
        }],
        "outputs": [{"type": TEXT}],
        "model": {"architecture": TEXT, "training": TEXT, "cmpapproach": TEXT},
        "data": {"training": {}, "evaluation": {}, "public": FLAG, "external": FLAG},
    },
    "details": {
        "name": TEXT, "version": TEXT, "devteam": TEXT, "type": TEXT, "cite": TEXT, "github": TEXT,
        "date": {"weights": TEXT, "code": TEXT, "pub": TEXT},
        "license": {"code": TEXT, "weights": TEXT},
        "publications": [{"title": TEXT, "uri": TEXT}],
    },
    "info": {"use": SECTION, "analyses": SECTION, "evaluation": SECTION, "training": SECTION},
}  # fmt: skip
OF_OUTPUT = {
    "Segmentation": {"classes": [TEXT]},
    "Classification": {"classes": [TEXT]},
    "Prediction": {"valueType": TEXT, "label": TEXT, "description": TEXT},
}


def faults(document, schema, where="meta.json"):
    """What of a document is not as the schema says."""
    if isinstance(schema, type):
        return [] if type(document) is schema else [f"{where}: {document!r} is no {schema.__name__}"]
    if type(document) is not type(schema):
        return [f"{where}: {document!r} is no {type(schema).__name__}"]
    if isinstance(schema, list):
        found = [] if document else [f"{where}: is empty"]
        return found + [fault for i, each in enumerate(document) for fault in faults(each, schema[0], f"{where}[{i}]")]
    missing = [f"{where}: '{name}' is missing" for name in schema if name not in document]
    present = [name for name in schema if name in document]
    return missing + [fault for name in present for fault in faults(document[name], schema[name], f"{where}.{name}")]


def rules_broken(meta, folder):
    """Faults of a meta.json by the schema and by its patterns and lists."""
    found = faults(meta, SCHEMA)
    if found:
        return found
    for output in meta["summary"]["outputs"]:
        found += faults(output, OF_OUTPUT.get(output["type"], {"Segmentation, Classification or Prediction": TEXT}))
    found += [f"description of {len(each['description'])}" for each in meta["summary"]["inputs"]
              if len(each["description"]) > 200]  # fmt: skip
    for value, pattern in (
        (meta["name"], r"[a-z0-9_]+"),
        (meta["name"], re.escape(folder)),
        (meta["details"]["version"], r"\d+(\.\d+)*"),
        (meta["details"]["date"]["code"], r"\d{4}-\d\d-\d\d"),
        (meta["details"]["date"]["pub"], r"\d{4}-\d\d-\d\d"),
        (meta["details"]["date"]["weights"], r"(\d{4}-\d\d-\d\d)?"),
        (meta["summary"]["model"]["training"], "supervised|semi-supervised|unsupervised|other|algorithmic"),
        (meta["summary"]["model"]["cmpapproach"], "2D|3D|ensemble"),
        *((each["uri"], r"https://\S+") for each in meta["details"]["publications"]),
        *((each["uri"], r"https://\S+") for part in meta["info"].values() for each in part.get("references", ())),
    ):
        if not re.fullmatch(pattern, value):
            found.append(f"{value!r} does not fit {pattern}")
    return found if uuid.UUID(meta["id"]).version == 4 else [*found, f"{meta['id']} is no UUID 4"]


def meta_of(model):
    return json.loads((MHUB / model / "meta.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", MODELS)
def test_the_description_follows_mhubs_schema(model):
    assert rules_broken(meta_of(model), model) == []
    assert meta_of(model)["details"]["version"] == re.search(
        r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    ).group(1)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda meta: meta["details"].pop("cite"), "'cite' is missing"),
        (lambda meta: meta["summary"]["inputs"][0].update(contrast="yes"), "'yes' is no bool"),
        (lambda meta: meta["summary"].update(outputs=[]), "is empty"),
        (lambda meta: meta["summary"]["outputs"].append({"type": "Image"}), "is missing"),
        (lambda meta: meta["summary"]["inputs"][0].update(description="x" * 201), "201"),
        (lambda meta: meta.update(name="TuckerSeg"), "does not fit"),
        (lambda meta: meta["summary"]["model"].update(training="distilled"), "does not fit"),
    ],
)
def test_a_description_that_breaks_the_schema_is_seen(change, said):
    meta = meta_of("tuckerseg")
    change(meta)
    assert any(said in fault for fault in rules_broken(meta, "tuckerseg"))


def test_what_is_written_of_structures_is_as_the_tables_say():
    specification = importlib.util.spec_from_file_location("make_mhub", ROOT / "tools" / "make_mhub.py")
    make_mhub = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_mhub)
    for path, text in make_mhub.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run tools/make_mhub.py"
    segments = [make_mhub.segment_of(name) for name in make_mhub.structures()]
    assert len(set(segments)) == 117 == len(segments)
    assert segments[:2] == ["SPLEEN", "RIGHT_KIDNEY"] and "LEFT_UPPER_LUNG_LOBE" in segments
    config = yaml.safe_load((MHUB / "tuckerseg" / "config" / "default.yml").read_text(encoding="utf-8"))
    registered = config["segdb"]["segments"]
    assert set(registered) <= set(segments)
    assert {each["type"] for each in registered.values()} == set(config["segdb"]["triplets"])


@pytest.mark.parametrize(
    "model, chain",
    [
        ("tuckerseg", ["DicomImporter", "NiftiConverter", "TuckerSegRunner", "DsegConverter", "DataOrganizer"]),
        ("tuckerseg_ct_utility", ["DicomImporter", "CtUtilityRunner", "DataOrganizer"]),
    ],
)
def test_the_chain_and_its_settings_fit_together(model, chain, runner):
    config = yaml.safe_load((MHUB / model / "config" / "default.yml").read_text(encoding="utf-8"))
    assert config["execute"] == chain and set(config["modules"]) <= set(chain)
    kind = runner(model)
    assert set(config["modules"][RUNNERS[model]]) <= kind.declared
    kind(**config["modules"][RUNNERS[model]])
    written = [output.dtype for output in kind.task.outputs.values()]
    for target in config["modules"]["DataOrganizer"]["targets"]:
        source, _, place = target.partition("-->")
        assert place.startswith("[i:sid]/")
        made_by_chain = source == "dicomseg:mod=seg" and "DsegConverter" in chain
        assert made_by_chain or any(dtype.startswith(source) for dtype in written)


@pytest.fixture
def runner(monkeypatch):
    """A function that gives the runner of a model, imported with the stand-in."""

    def find(model):
        for name, module in mhubio_standin.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.syspath_prepend(str(MHUB))
        for name in [name for name in sys.modules if name.partition(".")[0] == model]:
            monkeypatch.delitem(sys.modules, name)
        found = getattr(importlib.import_module(f"{model}.utils"), RUNNERS[model])
        for name in [name for name in sys.modules if name.partition(".")[0] == model]:
            monkeypatch.setitem(sys.modules, name, sys.modules[name])
        return found

    return find


PLAYED = """
import sys
from pathlib import Path
words = sys.argv[1:]
with open(Path(__file__).parent / "called.txt", "a") as file:
    print(*words, file=file)
if "FAIL" in words:
    sys.exit("tuckerseg: the reason")
print("progress", file=sys.stderr)
print('{"findings": []}')
for option in ("--stats", "--json", "--csv"):
    if words[0] != "check" and option in words:
        Path(words[words.index(option) + 1]).write_text(option)
if words[0] == "segment" and "total" not in words:
    Path(words[2]).write_text("labels")
"""


@pytest.fixture
def command(tmp_path):
    """A played command line, which notes how it is called."""
    (tmp_path / "played.py").write_text(PLAYED)
    return shlex.join([sys.executable, str(tmp_path / "played.py")])


def calls(tmp_path):
    return (tmp_path / "called.txt").read_text().splitlines()


def test_the_segmenting_runner_calls_the_command_line(runner, command, tmp_path):
    module = runner("tuckerseg")(command=command, rank=0.5, threads=2)
    written = mhubio_standin.run(module, tmp_path / "ct.nii.gz", tmp_path)
    assert all(path.is_file() for path in written.values())
    labels, statistics = written["out_data"], written["statistics"]
    assert calls(tmp_path) == [
        f"segment {tmp_path / 'ct.nii.gz'} {labels} --model total_fast --stats {statistics} --rank 0.5 --threads 2"
    ]
    assert "progress" in module.told
    assert "roi=SPLEEN,RIGHT_KIDNEY," in type(module).task.outputs["out_data"].dtype


def test_the_utility_segments_checks_and_tells_body_parts(runner, command, tmp_path):
    module = runner("tuckerseg_ct_utility")(command=command)
    written = mhubio_standin.run(module, tmp_path / "dicom", tmp_path)
    assert json.loads(written["quality"].read_text()) == {"findings": []}
    assert (written["parts"].read_text(), written["table"].read_text()) == ("--json", "--csv")
    segment, check, parts = calls(tmp_path)
    assert segment.startswith(f"segment {tmp_path / 'dicom'} ") and segment.endswith("--model total_fastest")
    assert check.startswith("check ") and check.endswith("--labels-names total_fastest --json")
    assert parts.startswith("bodyparts --labels ")


@pytest.mark.parametrize("model", MODELS)
def test_a_command_that_fails_fails_the_runner(model, runner, command, tmp_path):
    with pytest.raises(RuntimeError, match="ended with 1: tuckerseg: the reason"):
        mhubio_standin.run(runner(model)(command=f"{command} FAIL"), tmp_path / "ct", tmp_path)
    with pytest.raises(ValueError, match="found 'total_v3'"):
        mhubio_standin.run(runner(model)(command=command, model="total_v3"), tmp_path / "ct", tmp_path)


def test_a_run_without_its_file_fails_the_runner(runner, command, tmp_path):
    with pytest.raises(RuntimeError, match="is not there"):
        mhubio_standin.run(runner("tuckerseg")(command=command, model="total"), tmp_path / "ct", tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_the_models_of_a_runner_have_the_labels_that_are_declared(model, runner):
    names = sys.modules[f"{runner(model).__module__}"].MODELS
    assert len({tuple(task(name).structures) for name in names}) == 1
