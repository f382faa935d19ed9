#!/usr/bin/env bash
# The ResNet-50 with and without the local branch, and an untrained one: probes, k-NN and landmarks (docs/results.md).
#
#     FERPLUS=FOLDER LANDMARKS=FOLDER bash training/benchmarks/resnet50_encoders.sh
#
# The pretrainings need an NVIDIA GPU: 12 and 6 minutes on an H100. The rest takes hours on two CPU cores. A time limit
# ended the published encoder's run at step 10,189; both runs stop there.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${FERPLUS:?set it to the folder of FER+}" "${LANDMARKS:?set it to the folder of landmarks}"

pretrain="python training/pretrain.py --recipe training/recipes/pretrain_resnet50_ferplus.yaml --max_train_steps 10189"
$pretrain --dataset "$FERPLUS" --output_dir runs/simfle_resnet50
$pretrain --dataset "$FERPLUS" --use_local_branch false --output_dir runs/global_resnet50

# Three probe seeds; features as they are and standardized. The untrained encoder needs lower rates.
gray="--do_grayscale true --image_mean 0.5076 --image_std 0.2544"
for name in simfle global untrained; do
    model="--model runs/${name}_resnet50" rates="0.0001 0.0005 0.005 0.05 0.5"
    if [ $name = untrained ]; then model="$gray --view_size 64" rates="0.00002 0.0001 0.0005 0.005"; fi
    probe="python training/linear_probe.py $model --cache_features --features_dir runs/features --seeds 0 1 2"
    $probe --dataset "$FERPLUS" --sweep_learning_rates $rates --output_dir runs/resnet50/probe_$name
    $probe --dataset "$FERPLUS" --sweep_learning_rates 0.00005 0.0005 0.005 --standardize_features \
        --output_dir runs/resnet50/standardized_$name
    python training/knn_probe.py $model --dataset "$FERPLUS" --features_dir runs/features \
        --output_dir runs/resnet50/knn_$name
    if [ $name = untrained ]; then model=$gray; fi
    python training/landmark_probe.py $model --dataset "$LANDMARKS" --view_size 96 \
        --output_dir runs/resnet50/landmarks_$name
done

compare=""
for kind in probe standardized knn landmarks; do
    for base in global untrained; do
        compare="$compare --compare runs/resnet50/${kind}_$base runs/resnet50/${kind}_simfle"
    done
done
python training/report.py runs/resnet50/* $compare --output_md runs/resnet50.md
