# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""`FaceExpressionPipeline`: a photograph in, faces and their expressions out."""

import os
from collections.abc import Iterable, Iterator, Mapping

import torch
from PIL import Image
from transformers.pipelines.base import ChunkPipeline

from .face_detection_simfle import crop_face, detect_faces, detector_file
from .image_processing_simfle import read_image

TASK = "face-expression-recognition"


class FaceExpressionPipeline(ChunkPipeline):
    """
    Finds the faces in photographs and names the expression of each.

    Take this pipeline for photographs. Take `pipeline("image-classification")` for pictures that show one face each,
    already cut out: that one classifies the whole picture.

        classify = pipeline(model=FOLDER_OR_HUB_ID, trust_remote_code=True)
        classify("photo.jpg")
        [{"label": "happiness", "score": 0.99, "box": {"xmin": 178, "ymin": 63, "xmax": 268, "ymax": 176},
          "detection_score": 0.93, "landmarks": [[x, y], ... five]}]

    An image gives a list of mappings, one a face, the largest first; no face gives an empty list. `box` is in whole
    pixels of the upright image and may reach over its edge. `landmarks`: right eye, left eye, nose, right and left
    corner of the mouth, as the person has them. Finding faces needs OpenCV: `pip install "simfle[photos]"`.

    With the package imported, `pipeline(TASK, model=FOLDER)` without `trust_remote_code=True` raises, since
    config.json names the folder's own copy of this class; add `pipeline_class=FaceExpressionPipeline`.

    Args (of the constructor, or of one call):
        detection_threshold: least score of a face, in (0, 1]; 0.7.
        min_face_size: larger side of the smallest face to look for, in pixels, 10 or more; 48. Smaller is slower in
            large images.
        max_faces: at most so many faces an image, the largest; None for all.
        margin: widens the crop by this share of its side on each side, from -0.3 (narrower); 0.0, as the training
            faces are framed.
        align: rotate each face until its eyes are level; False.
        already_cropped: each image is one face; nothing is detected, and `box` is the whole image. False.
        return_features: adds `features`, the pooled features of the face, as a list of floats; False.
        on_error: "raise", or "skip": an image that cannot be read gives {"error": sentence} in place of a list.
        face_detector: a YuNet file, or a callable from a Pillow image to boxes (`detect_faces`).
        top_k: 1; a larger number or None (all) adds `scores`, a mapping of class to probability, descending.
        calibrated: divide the logits by the config's `temperature` and add its `class_prior`; False.
        batch_size: faces a forward pass, across images.
    Raises:
        ValueError: an option or an image that cannot be used. ImportError: OpenCV is not installed.
    """

    # Transformers types these as None, and means None, True or False.
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = True  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    # Transformers 5.24 would load one, and ask at the terminal whether the folder's code may run.
    _load_video_processor = False  # type: ignore[assignment]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model.eval()  # a model given as an object may still train, and BatchNorm would learn from the photographs

    def _sanitize_parameters(self, **options):
        looking = ("detection_threshold", "min_face_size", "max_faces", "face_detector")
        cutting = ("margin", "align", "already_cropped", "on_error")
        answering = ("top_k", "calibrated")
        known = {*looking, *cutting, *answering, "return_features"}
        if unknown := sorted(set(options) - known):
            raise ValueError(f"{', '.join(unknown)}: no such option; use {', '.join(sorted(known))}.")
        check_options(options)

        def chosen(names):
            return {name: options[name] for name in names if name in options}

        return chosen((*looking, *cutting)), chosen(("return_features",)), chosen(answering)

    def preprocess(
        self, image, margin=0.0, align=False, already_cropped=False, on_error="raise", **looking
    ) -> Iterator[dict]:
        """Yields the model's input of each face: one chunk a face, and one without a face where there is none."""
        faces: list = []
        crops: Iterable = []
        error = None
        try:
            image = read_image(image)
        except ValueError as failure:
            if on_error == "raise":
                raise
            image, error = Image.new("RGB", (1, 1)), str(failure)
        if already_cropped and error is None:
            box = {"xmin": 0, "ymin": 0, "xmax": image.width, "ymax": image.height}
            faces, crops = [{"box": box, "detection_score": None, "landmarks": None}], [image]
        elif error is None:
            faces = detect_faces(image, **looking)
            crops = (crop_face(image, face, margin, align) for face in faces)
        if not faces:  # the iterators of Transformers lose an image that has no chunk
            faces, crops = [None], [Image.new("RGB", (1, 1))]
        for number, (face, crop) in enumerate(zip(faces, crops), 1):
            inputs = self.image_processor(crop, return_tensors="pt")
            pixel_values = inputs["pixel_values"].to(self.dtype)  # (1, 3, S, S)
            yield {"pixel_values": pixel_values, "face": face, "error": error, "is_last": number == len(faces)}

    def _forward(self, model_inputs, return_features=False):
        outputs = self.model(pixel_values=model_inputs.pop("pixel_values"), output_hidden_states=return_features)
        answers = {"logits": outputs.logits.float(), **model_inputs}
        if return_features:
            answers["features"] = outputs.hidden_states[-1].float().mean(dim=(2, 3))  # (B, C, h, w) -> (B, C)
        return answers

    def postprocess(self, model_outputs, top_k=1, calibrated=False):
        """The faces of one image, as the class describes them."""
        if model_outputs[0]["error"] is not None:
            return {"error": model_outputs[0]["error"]}
        return [self._answer(output, top_k, calibrated) for output in model_outputs if output["face"] is not None]

    def _answer(self, output: Mapping, top_k: int | None, calibrated: bool) -> dict:
        config, logits = self.model.config, output["logits"][0]  # (classes,)
        if calibrated:
            logits = logits / getattr(config, "temperature", 1.0)
            if getattr(config, "class_prior", None) is not None:
                logits = logits + torch.tensor(config.class_prior, dtype=logits.dtype)
        probabilities = logits.softmax(-1)
        order = probabilities.argsort(descending=True, stable=True).tolist()
        scores = {config.id2label[i]: probabilities[i].item() for i in order[:top_k]}
        label = config.id2label[order[0]]
        answer = {"label": label, "score": scores[label], **output["face"]}
        if top_k != 1:
            answer["scores"] = scores
        if "features" in output:
            answer["features"] = output["features"][0].tolist()
        return answer


def check_options(options: Mapping) -> None:
    """Raises ValueError: an option of the pipeline that is out of its range; the sentence has value, range and fix."""

    def refuse(name: str, allowed: str):
        raise ValueError(f"{name}={options[name]!r} cannot be used; give {allowed}.")

    for name, least, may_be_none in (("min_face_size", 10, False), ("max_faces", 1, True), ("top_k", 1, True)):
        value = options.get(name, None if may_be_none else least)
        if value is None and may_be_none:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            refuse(name, f"a whole number of at least {least}" + (", or None for all" if may_be_none else ""))
    threshold, margin = options.get("detection_threshold", 0.7), options.get("margin", 0.0)
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        refuse("detection_threshold", "a number above 0, up to 1")
    if not isinstance(margin, (int, float)) or not -0.3 <= margin <= 10:
        refuse("margin", "a number from -0.3 to 10")
    if options.get("on_error", "raise") not in ("raise", "skip"):
        refuse("on_error", '"raise" or "skip"')
    detector = options.get("face_detector")
    if isinstance(detector, (str, os.PathLike)):
        detector_file(detector)
    elif detector is not None and not callable(detector):
        refuse("face_detector", "the path of a YuNet file, or a callable from an image to boxes")


__all__ = ["FaceExpressionPipeline"]
