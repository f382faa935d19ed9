"""
Landmark probe: how well a linear map reads the 68 facial landmarks off a frozen encoder's feature map.

    python training/landmark_probe.py --model RUN --dataset LANDMARKS --output_dir OUT

The encoder is frozen in eval mode. A ridge regression maps its last feature map (C, h, w), flattened, to the points.
The ridge is chosen by cross-validation on the training people, each person in one fold, by the reported measure. The
map is then fitted on all training faces and measured on --eval_split, which holds other people and chooses nothing.
Without --model the encoder of --model_config is untrained: run it once as initialised and once with
--estimate_batch_norm, and compare against the better one.

--dataset is Parquet or a Hub data set with columns image, landmarks (68 x 2, fractions of the upright image's width and
height, iBUG's order) and person. OUT holds metrics.json, errors.csv, cumulative_errors.png and run.json; report.py
reads them.
"""

from training.data.faces import DatasetArguments
from training.data.landmarks import LandmarkArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.arguments import LandmarkProbeArguments
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.run_folder import prepare_output_dir
from training.runtime.run_record import read_command_line


def main(argv=None) -> None:
    kinds = (DatasetArguments, LandmarkArguments, ModelArguments, ProcessorArguments, LandmarkProbeArguments)
    parsed = parse_arguments(kinds, argv, __doc__)
    from training.probing.landmark_map import FrozenLandmarkEncoder, run_probe

    probe = parsed[-1]
    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    frozen = FrozenLandmarkEncoder(read_command_line("landmark_probe", argv, parsed), *parsed)
    run_probe(frozen, probe, output_dir)


if __name__ == "__main__":
    run_main("landmark_probe", main)
