# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
The run: inputs -> looks (an image, or a frame of a video) -> faces, classified in batches -> rows -> files.

Everything is a generator, so that memory does not grow with the number of inputs.
"""

import sys
from argparse import Namespace
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

from PIL import Image

from simfle.arguments import check_libraries
from simfle.batches import classify_in_batches, prepare_ahead
from simfle.errors import InputError
from simfle.images import ImageError, read_image
from simfle.inputs import Inputs
from simfle.models import count_cores
from simfle.progress_record import ProgressRecord
from simfle.results import Look, Results
from simfle.video import Video, VideoError
from simfle.writers import RowWriter, TablePrinter, make_columns, stream_path

# What a row depends on, beside the model: --resume refuses another value.
OPTIONS = (
    "already_cropped detection_threshold min_face_size max_faces margin align calibrated face_detector"
    " frames_per_second smooth"
).split()
MOST_WORKERS = 8  # threads that look for faces; each look that waits keeps its image
FRAMES_KEPT = 8  # frames in memory that wait for their faces, where they are drawn on


def run(arguments: Namespace, classifier) -> int:
    """
    Args:
        arguments: of `parse_arguments`. classifier: a FaceClassifier.
    Returns:
        The exit status: 0 if any image was read, 1 if none was, 130 after an interrupt.
    Raises:
        InputError, RunError. BrokenPipeError: nobody reads the table any more.
    """
    inputs = find_inputs(arguments)
    record, writer = open_output(arguments, classifier, bool(inputs.videos))
    results = Results(arguments, classifier.classes, writer, record)
    try:
        results.take_over()
        stream = classify_looks(arguments, inputs, record, classifier)
        with progress_bar(arguments, inputs) as advance, closing(stream):
            for look, faces in stream:
                results.add(look, faces)
                advance(look)
        results.finish()
    except KeyboardInterrupt:
        print(f"simfle: interrupted{results.saved()}", file=sys.stderr)
        return 130
    finally:
        results.close()
    results.report(inputs)
    return 0 if results.read_files else 1


def classify_looks(arguments: Namespace, inputs: Inputs, record, classifier) -> Generator[tuple, None, None]:
    """(look, its faces) of everything that is not done yet, in order."""
    keep_frames = bool(arguments.annotate)

    def prepare(look: Look) -> list:
        return prepare_look(look, classifier, keep_frames)

    workers = min(count_cores(), MOST_WORKERS)
    looks = draw_looks(inputs, record, arguments.frames_per_second)
    prepared = prepare_ahead(looks, prepare, workers, 2 * workers)
    longest_wait = FRAMES_KEPT if keep_frames else 4 * arguments.batch_size
    for look, faces, outputs in classify_in_batches(prepared, classifier.predict, arguments.batch_size, longest_wait):
        yield look, classifier.describe(faces, outputs)


def draw_looks(inputs: Inputs, record: ProgressRecord | None, frames_per_second: float | None) -> Iterator[Look]:
    """The looks of all inputs; a video ends with one that has no frame."""
    for source in inputs:
        if record and record.has(source):
            yield Look(source, is_skipped=True)
        elif not source.is_video:
            yield Look(source)
        else:
            error = None
            try:
                video = Video(source.path, frames_per_second)
                rate = min(frames_per_second or video.rate, video.rate)
                for time, frame in video.frames():
                    yield Look(source, frame, time, is_last=False, rate=rate, expected=video.expected_samples)
            except VideoError as problem:
                error = str(problem)
            except OSError as problem:
                error = f"cannot be read: {problem.strerror}"
            yield Look(source, error=error)


def prepare_look(look: Look, classifier, keep_frames: bool) -> list:
    """The faces in a look, as `classifier.predict` takes them; in a thread. Sets its error where it cannot be read."""
    faces: list = []
    if look.is_skipped or (look.source.is_video and look.frame is None):
        return faces
    try:
        image = read_image(look.source.path) if look.frame is None else Image.fromarray(look.frame)
        faces = classifier.prepare(image)
    except ImageError as error:
        look.error = str(error)
    if not keep_frames:
        look.frame = None
    return faces


def find_inputs(arguments: Namespace) -> Inputs:
    """The inputs, counted, without what the command itself writes. Raises InputError: a folder cannot be listed."""
    written = [file for file in (arguments.output, arguments.plot, arguments.annotate) if file]
    if arguments.summary not in (None, "-"):
        written.append(arguments.summary)
    if arguments.output:
        written += [stream_path(arguments.output), ProgressRecord.path_of(arguments.output)]
    inputs = Inputs(arguments.inputs, written).count()
    check_libraries({"cv2": inputs.videos})
    for sentence in inputs.unlisted:
        print(f"simfle: {sentence}", file=sys.stderr)
    return inputs


def open_output(arguments: Namespace, classifier, with_video: bool):
    """(record, writer) of --output, else (None, printer). Raises InputError: it cannot be written, or not resumed."""
    columns = make_columns(classifier.classes, with_video)
    if not arguments.output:
        return None, TablePrinter(columns)
    options = {name: getattr(arguments, name) for name in OPTIONS}
    options["face_detector"] = str(arguments.face_detector) if arguments.face_detector else None
    record = ProgressRecord(arguments.output, classifier.hash, options)
    try:
        if not (arguments.resume and record.resume(with_video)):
            record.start(columns)
        return record, RowWriter(arguments.output, record.columns, record.end)
    except OSError as error:
        record.close()
        raise InputError(f"--output {arguments.output} cannot be written ({error.strerror}).") from error


@contextmanager
def progress_bar(arguments: Namespace, inputs: Inputs):
    """Gives a function to call with each look; a bar on a terminal, with looks a second and the time left."""
    # Where rows are printed to the same terminal, they show the progress.
    if not sys.stderr.isatty() or (sys.stdout.isatty() and not arguments.output):
        yield lambda look: None
        return
    from tqdm import tqdm

    with tqdm(total=inputs.images, unit=" frames" if inputs.videos else " images", file=sys.stderr) as bar:
        opened = None

        def advance(look: Look) -> None:
            nonlocal opened
            if look.time is not None and opened != look.source:
                opened, bar.total = look.source, bar.total + look.expected
            bar.update(look.time is not None or not look.source.is_video)

        yield advance
