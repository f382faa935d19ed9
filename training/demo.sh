#!/usr/bin/env bash
# A photograph, then the whole way on faces drawn by code: draw, pretrain, probe, reconstruct, classify. `make demo` runs
# this file.
#
#     bash training/demo.sh [--output FOLDER] [--count FACES] [--epochs N]
#
# Each command is printed before it runs, and may be typed as printed from the root of the repository. Drawn faces show
# that the parts work together; they are no evidence about real faces.
set -euo pipefail
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$(dirname "$0")/.."

output=demo_output count=2000 epochs=12
while [ $# -gt 0 ]; do
    case "$1" in
        --output) output=${2:?--output needs a folder} ;;
        --count) count=${2:?--count needs a number of faces} ;;
        --epochs) epochs=${2:?--epochs needs a number} ;;
        *) echo "demo.sh: unknown argument $1; known are --output, --count and --epochs." >&2; exit 2 ;;
    esac
    shift 2
done

# A folder of an earlier demonstration holds commands.txt; no other folder is replaced.
if [ -e "$output" ] && [ ! -f "$output/commands.txt" ]; then
    echo "demo.sh: $output exists and is not an earlier demonstration; give another --output." >&2
    exit 2
fi
rm -rf "$output"
mkdir -p "$output"
: > "$output/commands.txt"

step() { printf '\n== %s\n' "$1"; }

# Prints the command, writes it to commands.txt and runs it.
run() {
    local line="" word
    for word in "$@"; do
        case "$word" in
            *[!A-Za-z0-9_./:=-]*) line+="\"$word\" " ;;
            *) line+="$word " ;;
        esac
    done
    printf '$ %s\n' "${line% }"
    printf '%s\n' "${line% }" >> "$output/commands.txt"
    "$@"
}

model_config=training/recipes/demo_64px.json
published=hub_cards/simfle-resnet18-ferplus

step "Find the face in a photograph (NASA, public domain), name its expression, and draw both into a copy"
run python -c "from skimage import data, io; io.imsave('$output/photo.jpg', data.astronaut())"
run python -m simfle "$output/photo.jpg" --model $published --annotate "$output/annotated"
echo "the copy: $output/annotated/photo.jpg"

step "Draw $count faces for training, 200 others for validation, and 8 for the end"
run python -m training.data.drawn_faces "$output/faces/train" --count "$count" --size 64 --seed 0
run python -m training.data.drawn_faces "$output/faces/validation" --count 200 --size 64 --seed 1
run python -m training.data.drawn_faces "$output/new_faces" --count 8 --size 128 --seed 3

step "Pretrain a small SimFLE on the training faces, without labels"
run python training/pretrain.py --dataset "$output/faces" --model_config $model_config --view_size 64 \
    --per_device_train_batch_size 32 --base_learning_rate 0.4 --num_train_epochs "$epochs" --num_workers 1 \
    --checkpointing_steps 1000000 --output_dir "$output/simfle"

step "Linear probe of the pretrained encoder, then of an untrained one"
run python training/linear_probe.py --model "$output/simfle" --dataset "$output/faces" --cache_features \
    --view_size 64 --num_workers 1 --output_dir "$output/probe_pretrained"
run python training/linear_probe.py --model_config $model_config --estimate_batch_norm --dataset "$output/faces" \
    --cache_features --view_size 64 --num_workers 1 --output_dir "$output/probe_untrained"
run python training/report.py "$output/probe_pretrained" "$output/probe_untrained" \
    --compare "$output/probe_untrained" "$output/probe_pretrained"

step "Draw the original, the visible patches and the reconstruction of the 8 new faces"
run python -m training.pretraining.reconstructions --model "$output/simfle" --images "$output/new_faces" \
    --count 8 --output "$output/reconstructions.png"

step "Classify a face that was drawn as happy: by published weights, then by the probe above"
for model in "$published" "$output/probe_pretrained"; do
    run python -c "from transformers import pipeline; print(pipeline('image-classification', '$model', \
trust_remote_code=True)('$output/new_faces/happiness/000001.png', top_k=3))"
done
