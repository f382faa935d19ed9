"""
Linear probe: a frozen encoder in eval mode and one linear layer, the standard measure of a self-supervised encoder.

    python training/linear_probe.py --model RUN --dataset FACES --output_dir OUT

The paper's protocol: 100 epochs, batch 1024, SGD with momentum 0.9, no weight decay, constant learning rate
0.5 * batch / 256; RandomResizedCrop and flip for training, the whole face for evaluation. The epoch is chosen on
--eval_split, which is a validation split: report a test split by evaluate_classifier.py, once.

`--cache_features` computes the features of the whole faces once and tries several learning rates and weight decays
together. `--features_dir` keeps the features for other runs. `--standardize_features` removes their scale, to which SGD
is sensitive: the features of an untrained encoder may be ten times larger than those of a trained one. `--seeds 0 1 2`
and `--few_shot 1 5 10` (percents of the labels) share the features; each run has its folder, OUT/seed_0 or
OUT/labels_10_percent/seed_0.
"""

from training.data.faces import DatasetArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.arguments import LinearProbeArguments, run_folders
from training.publishing.hub import HubArguments, push_run
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.run_folder import prepare_output_dir
from training.runtime.run_record import read_command_line


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, LinearProbeArguments, HubArguments)
    *parsed, hub = parse_arguments(kinds, argv, __doc__)
    from training.probing.frozen_encoder import FrozenEncoder
    from training.probing.linear_classifier import run_probes

    probe = parsed[-1]
    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    runs = run_folders(output_dir, probe)
    if hub.push_to_hub and len(runs) > 1:
        raise InputError(f"--push_to_hub is for one run, not for {len(runs)}; publish one by training/publish.py.")
    frozen = FrozenEncoder(read_command_line("linear_probe", argv, tuple(parsed)), *parsed)
    run_probes(frozen, probe, runs)
    push_run(runs[0][0], hub)


if __name__ == "__main__":
    run_main("linear_probe", main)
