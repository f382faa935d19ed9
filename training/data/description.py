"""What run.json says about the data of a training."""

from pathlib import Path

from training.data.formats import facts_of, guess_format


def describe_data(data_format: str, faces) -> dict:
    """
    {"format", "name", "split", "fingerprint", "num_images"} of the faces that a training learns from, and "terms".

    Args:
        data_format: --data_format; "auto" is detected. faces: training.data.faces.Faces.
    """
    if data_format == "auto":
        is_stream = hasattr(faces, "files")
        data_format = "stream" if is_stream else guess_format(Path(faces.source).expanduser(), faces.source)
    about = {"format": data_format, "name": faces.source, "split": faces.split}
    about |= {"fingerprint": faces.fingerprint(), "num_images": len(faces)}
    facts = facts_of(data_format)
    return {**about, "terms": facts.terms} if facts else about
