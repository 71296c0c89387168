"""``tuckerseg bodyparts``: where along the body each slice of a CT lies, and what that says of the header."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ...errors import SpecError
from ...evaluation.label_files import read_label_map
from ...evaluation.label_names import named_labels
from ...quality.body_scores import BodyScores, as_document, scores_of_labels, slice_rows
from ...text_files import check_writable, csv_text, write_text
from ..output import say


def bodyparts(options: argparse.Namespace) -> None:
    """``tuckerseg bodyparts CT --json FILE --csv FILE``: prints what was found, and writes it to files.

    Raises:
        ImageError: The image or the labels cannot be read.
        SpecError: There is not one thing to look at, but none or two.
        OutputError: A file cannot be written.
    """
    _check(options)
    for path in filter(None, (options.json_file, options.csv)):
        check_writable(path)
    scores = _scores(options)
    document = as_document(scores)
    say(*_words(document))
    if options.json_file:
        write_text(options.json_file, json.dumps(document, indent=1, allow_nan=False))
    if options.csv:
        write_text(options.csv, csv_text(slice_rows(scores)))
    say(*(f"Written: {path}" for path in (options.json_file, options.csv) if path))


def _check(options: argparse.Namespace) -> None:
    if bool(options.images) == bool(options.labels):
        raise SpecError("Give either an image, or --labels with a label file.")
    if options.labels and options.bpr_model:
        raise SpecError("--bpr-model scores an image; --labels names labels. Give one of them.")
    if options.labels_names and not options.labels:
        raise SpecError("--labels-names is for --labels.")


def _scores(options: argparse.Namespace) -> BodyScores:
    if options.labels:
        names = named_labels(options.labels_names) if options.labels_names else None
        labels = read_label_map(Path(options.labels), names)
        return scores_of_labels(labels.array, labels.geometry, labels.names)
    if options.bpr_model:
        return _scores_of_network(options)
    return _scores_of_segmentation(options)


def _scores_of_segmentation(options: argparse.Namespace) -> BodyScores:
    from ...jobs.run import run_job
    from ..jobs_from_options import inference_of, model_job
    from ..terminal import TerminalReporter

    job = replace(
        model_job(options),
        images=(options.images, *options.channel),
        inference=inference_of(options),
        timepoint=options.timepoint,
        series=options.series,
    )
    reporter = TerminalReporter()
    try:
        result = run_job(job, monitor=options.monitor.through(reporter))
    finally:
        reporter.close()
    return scores_of_labels(result.labels, result.geometry, result.label_names)


def _scores_of_network(options: argparse.Namespace) -> BodyScores:
    from ...image import read_image
    from ...quality.body_scores.bpr import read_bpr_model

    model = read_bpr_model(Path(options.bpr_model))
    image = read_image(options.images, options.timepoint, series=options.series)
    return model.scores_of(image, options.monitor)


def _words(document: dict) -> list[str]:
    """What was found, for a person."""
    if document["reverse z-ordering"] is None:
        return ["Body parts: not told, for want of structures whose place is known."]
    lines = [f"Body parts: {document['body part examined tag']}"]
    for part, extent in document["body part ranges"].items():
        lines.append(
            f"  {part:<8} slices {extent['first slice']} to {extent['last slice']}, "
            f"{extent['lowest mm']:.0f} to {extent['highest mm']:.0f} mm"
        )
    order = "reversed: from head to feet" if document["reverse z-ordering"] else "as the header says"
    lines.append(f"Order of the slices: {order}")
    spacing = f"{document['z-spacing']:.3g} mm"
    if document["valid z-spacing"] is None:
        lines.append(f"Distance of the slices: {spacing}, not judged, for want of vertebrae")
    elif document["valid z-spacing"]:
        lines.append(f"Distance of the slices: {spacing}, plausible")
    else:
        lines.append(
            f"Distance of the slices: {spacing}, implausible; about {document['expected z-spacing']:.3g} mm expected"
        )
    return lines
