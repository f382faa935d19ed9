"""
Mask coverage: which parts of the face the semantic masks of a pretrained model leave visible, against chance.

    python training/mask_coverage.py --model RUN --dataset LANDMARKS --output_dir OUT

For every channel group of a pretraining folder (local branch, semantic masking): how often its visible patches fall on
brows, eyes, nose, mouth and jaw, or on any landmark, as a ratio to a mask drawn uniformly over the same image, with a
95 % interval by person. A patch is on a region if it holds at least one of the region's landmarks. The model runs in
eval mode on the whole face, resized as in pretraining.

A uniform mask is a low bar: masks that keep to the middle of the image pass it on every centred face. Compare with the
same figures of another model, and look at the maps.

--dataset is as for landmark_probe.py. OUT holds coverage.json (by group and overall, entropies, counts) and
coverage.png, which shows no face.
"""

from training.data.faces import DatasetArguments
from training.data.landmarks import LandmarkArguments
from training.probing.arguments import CoverageArguments
from training.runtime.arguments import parse_arguments, run_main


def main(argv=None) -> None:
    parsed = parse_arguments((DatasetArguments, LandmarkArguments, CoverageArguments), argv, __doc__)
    from training.probing.mask_coverage import measure_masks

    measure_masks(*parsed)


if __name__ == "__main__":
    run_main("mask_coverage", main)
