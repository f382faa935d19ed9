"""
k-nearest-neighbour probe: each face of --eval_split takes the class of the training faces nearest to it by cosine.

    python training/knn_probe.py --model RUN --dataset FACES --output_dir OUT

Nothing is trained and nothing is chosen: k and temperature are arguments. `--few_shot 1 5 10` keeps that percent of the
training labels, drawn by --seeds; each run has its folder, OUT/labels_10_percent/seed_0. `--features_dir` shares
features with linear_probe.py.
"""

from training.data.faces import DatasetArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.arguments import NeighbourArguments, run_folders
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.run_folder import prepare_output_dir
from training.runtime.run_record import read_command_line


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, NeighbourArguments)
    parsed = parse_arguments(kinds, argv, __doc__)
    from training.probing.frozen_encoder import FrozenEncoder
    from training.probing.nearest_neighbours import run_probes

    probe = parsed[-1]
    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    frozen = FrozenEncoder(read_command_line("knn_probe", argv, parsed), *parsed)
    run_probes(frozen, probe, run_folders(output_dir, probe))


if __name__ == "__main__":
    run_main("knn_probe", main)
