"""Files are written through the one place that writes them whole; exceptions are named with their reasons."""

from __future__ import annotations

import ast
import re

import pytest

from Testing.unit.library_files import FILES, LIBRARY

# Calls that write a file or give it a name, by their last name; of ``open`` and its kind, those for writing
WRITING = {
    *("write_text", "write_bytes", "rename", "renames", "mkstemp", "mkdtemp", "TemporaryDirectory"),
    *("NamedTemporaryFile", "savefig", "savez", "savez_compressed", "savetxt", "tofile", "save_file", "save_model"),
    *("serialize_file", "copyfile", "copy2", "copytree", "move", "link", "symlink", "hardlink_to", "symlink_to"),
    *("make_archive", "WriteImage", "to_csv", "imsave", "touch"),
}
OPENING = {"open", "fdopen", "ZipFile"}
SAVERS = {"np", "numpy", "torch", "nibabel"}  # whose save() writes; that of our own records ends in files
WHOLE = {"written_whole", "synced_file"}  # what is written to the path or file that they give is safe
MAY_WRITE = {
    ("cli/output.py", "os.open"): "nowhere: what standard output cannot take goes there",
    ("hardware/memory.py", "resets.write_text"): "no file: it tells the system to count anew",
    ("files/fsync.py", "path.open"): "the file that is told to the disk",
    ("files/fsync.py", "os.open"): "only to tell the disk",
    ("files/atomic_writes.py", "os.replace"): "the renaming itself",
    ("files/moves.py", "os.replace"): "the renaming of several files, synced around it",
    ("files/leftovers.py", "os.open"): "the lock",
    ("files/leftovers.py", "os.rename"): "to itself: asks Windows whether the lock is held",
    ("image/dicom/pixels.py", "path.write_bytes"): "compressed pixels in a temporary folder, while GDCM decodes them",
    ("model_zoo/locks.py", "open"): "the lock of an installation",
    ("model_zoo/installing.py", "os.replace"): "within a temporary folder",
    ("download/part_file.py", "open"): "a part that is resumed; it keeps its own account of what is safe",
    ("serving/uploads.py", "tempfile.mkdtemp"): "a job's folder, which goes with the job",
    ("serving/uploads.py", "self.file.open"): "a volume that comes in pieces, in that folder",
    ("serving/compute.py", "cache_in_making.rename"): "within the server's temporary folder",
    ("serving/compute.py", "os.link"): "the same",
    ("serving/compute.py", "os.symlink"): "the same",
    ("serving/compute.py", "shutil.copy2"): "the same",
    ("serving/compute.py", "shutil.copytree"): "the same",
    ("worker/process.py", "os.fdopen"): "standard output",
    ("slicer_bridge/scene/volumes.py", "self._beside.open"): "passes to the worker; the session's end removes it",
    ("slicer_bridge/scene/volumes.py", "self._beside.replace"): "the same",
    (
        "slicer_bridge/installation/install.py",
        "tempfile.TemporaryDirectory",
    ): "pip's constraints, for as long as it runs",
    ("slicer_bridge/installation/install.py", "path.write_text"): "the same",
}


def is_writing(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    last, owner = name.rpartition(".")[2], name.rpartition(".")[0]
    if last in OPENING and not owner.endswith(("urllib", "opener", "webbrowser", "request")):
        mode = [ast.unparse(word) for word in (*call.args[:2], *(key.value for key in call.keywords))]
        return any(re.search(r"O_(WRONLY|RDWR|CREAT)|['\"][rwaxbt]*[wax+][wax+bt]*['\"]", word) for word in mode)
    if last == "replace":  # of a path: that of a string has two arguments, that of a record has keywords
        return owner == "os" or (len(call.args) == 1 and bool(owner) and not call.keywords)
    if last == "export":
        return owner == "torch.onnx"
    if name == "write_text":  # that of text_files
        return False
    return last in WRITING or (last == "save" and owner in SAVERS)


def unsafe_writes(text: str) -> list[str]:
    """Calls that write elsewhere than to what ``written_whole`` or ``synced_file`` gives."""
    found = []

    def visit(node: ast.AST, given: frozenset[str]) -> None:
        if isinstance(node, ast.With):
            for item in node.items:
                visit(item.context_expr, given)
                names = {each.id for each in ast.walk(item.context_expr) if isinstance(each, ast.Name)}
                if item.optional_vars is not None and names & (WHOLE | given):
                    given |= {ast.unparse(item.optional_vars)}
            for child in node.body:
                visit(child, given)
            return
        if isinstance(node, ast.Call) and is_writing(node):
            used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if not used & given:
                found.append(ast.unparse(node.func))
        for child in ast.iter_child_nodes(node):
            visit(child, given)

    visit(ast.parse(text), frozenset())
    return found


def test_files_are_written_whole_through_one_place():
    found = {
        (file.relative_to(LIBRARY).as_posix(), call)
        for file in FILES
        for call in unsafe_writes(file.read_text(encoding="utf-8"))
    }
    assert found == set(MAY_WRITE)


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('a')",
        "Path('a').write_bytes(b'a')",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('xb')",
        "path.open('r+b')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.replace(beside, path)",
        "beside.replace(path)",
        "beside.rename(path)",
        "tempfile.mkstemp()",
        "figure.savefig(path)",
        "np.save(path, array)",
        "torch.save(weights, path)",
        "torch.onnx.export(network, patch, path)",
        "zipfile.ZipFile(path, 'w')",
        "shutil.move(beside, path)",
        "with written_whole(path) as beside: figure.savefig(path)",
    ],
)
def test_a_file_that_is_written_elsewhere_is_found(line):
    assert len(unsafe_writes(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "path.open('rb')",
        "text.replace('a', 'b')",
        "replace(record, name='a')",
        "zipfile.ZipFile(path)",
        "with written_whole(path) as beside: figure.savefig(beside)",
        "with written_whole(path) as beside, beside.open('wb') as file: np.save(file, array)",
    ],
)
def test_what_is_read_or_written_whole_is_not(line):
    assert unsafe_writes(line) == []
