#!/usr/bin/env bash
# The encoder of simfle-resnet18-ferplus, the same run without the local branch, and an untrained one (docs/results.md).
#
#     FERPLUS=FOLDER LANDMARKS=FOLDER bash training/benchmarks/resnet18_encoders.sh
#
# The two pretrainings take 51 and 43 minutes of one core each, the rest hours.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${FERPLUS:?set it to the folder of FER+}" "${LANDMARKS:?set it to the folder of landmarks}"

pretrain="python training/pretrain.py --recipe training/recipes/pretrain_resnet18_ferplus.yaml"
$pretrain --dataset "$FERPLUS" --output_dir runs/simfle_resnet18
$pretrain --dataset "$FERPLUS" --use_local_branch false --output_dir runs/global_resnet18

out=runs/resnet18
gray="--model_config training/recipes/resnet18_64px.json --do_grayscale true --image_mean 0.5076 --image_std 0.2544"
for name in simfle global untrained; do
    model="--model runs/${name}_resnet18" size=""
    if [ $name = untrained ]; then model=$gray size="--view_size 64"; fi
    probe="python training/linear_probe.py $model $size --cache_features --features_dir runs/features --seeds 0 1 2"
    $probe --dataset "$FERPLUS" --output_dir $out/probe_$name
    $probe --dataset "$FERPLUS" --few_shot 10 --output_dir $out/few_$name
    python training/knn_probe.py $model $size --dataset "$FERPLUS" --features_dir runs/features \
        --output_dir $out/knn_$name
    python training/finetune.py --recipe training/recipes/finetune_resnet18_ferplus.yaml $model --view_size 64 \
        --early_epochs 0 --num_train_epochs 4 --dataset "$FERPLUS" --output_dir $out/tuned_$name
    python training/landmark_probe.py $model --view_size 96 --dataset "$LANDMARKS" --output_dir $out/landmarks_$name
done
python training/mask_coverage.py --model runs/simfle_resnet18 --dataset "$LANDMARKS" --output_dir $out/coverage_simfle

compare=""
for kind in probe few knn tuned landmarks; do
    for base in global untrained; do
        compare="$compare --compare $out/${kind}_$base $out/${kind}_simfle"
    done
done
python training/report.py $out/probe_* $out/few_* $out/knn_* $out/tuned_* $out/landmarks_* $compare \
    --output_md $out.md
