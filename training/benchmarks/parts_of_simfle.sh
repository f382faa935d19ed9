#!/usr/bin/env bash
# What each part of SimFLE contributes at one small budget: ResNet-18, 64 px, linear probe on FER+ (docs/results.md).
#
#     FERPLUS=FOLDER [SEEDS="0 1 2 3"] [EPOCHS=7] bash training/benchmarks/parts_of_simfle.sh
#
# A pretraining takes 20 to 50 minutes of two cores. SEEDS are pretraining seeds; parts other than the local branch are
# run with the first one.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${FERPLUS:?set it to the folder of FER+}"
seeds=(${SEEDS:-0 1 2 3})
epochs=${EPOCHS:-7}
config=training/recipes/resnet18_64px.json
gray="--do_grayscale true --image_mean 0.5076 --image_std 0.2544"

# pretrain NAME FLAGS...: one run, to runs/parts/NAME.
pretrain() {
    local name=$1
    shift
    python training/pretrain.py --recipe training/recipes/pretrain_resnet18_ferplus.yaml --num_train_epochs "$epochs" \
        --blur_sigma 0.03 0.57 --dataset "$FERPLUS" "$@" --output_dir "runs/parts/$name"
}

# probe NAME FLAGS...: of an encoder's features as they are, and standardized.
probe() {
    local name=$1
    shift
    for standardize in false true; do
        python training/linear_probe.py "$@" --dataset "$FERPLUS" --cache_features --features_dir runs/features18 \
            --sweep_learning_rates 0.0005 0.005 0.05 --seeds 0 1 2 --standardize_features $standardize \
            --output_dir "runs/parts_probes/standardized_$standardize/$name"
    done
}

for seed in "${seeds[@]}"; do
    pretrain "simfle_seed$seed" --seed "$seed"
    pretrain "global_seed$seed" --seed "$seed" --use_local_branch false
done
first=${seeds[0]}
pretrain random --seed "$first" --masking random
pretrain normal --seed "$first" --model_config training/recipes/resnet18_64px_normal_start.json
python training/finetune.py --recipe training/recipes/finetune_resnet18_ferplus.yaml --model_config $config $gray \
    --view_size 64 --early_epochs 0 --num_train_epochs "$epochs" --dataset "$FERPLUS" --output_dir runs/parts/supervised

for run in runs/parts/*; do
    probe "$(basename "$run")" --model "$run"
done
probe untrained --model_config $config $gray --view_size 64

for standardize in false true; do
    folder=runs/parts_probes/standardized_$standardize
    compare=""
    for name in "global_seed$first" random normal untrained supervised; do
        compare="$compare --compare $folder/$name $folder/simfle_seed$first"
    done
    python training/report.py $folder/* $compare --output_md "$folder.md"
    python training/benchmarks/pretraining_seeds.py $folder simfle global --seeds "${seeds[@]}"
done
