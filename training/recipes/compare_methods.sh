#!/usr/bin/env bash
# Compares the methods of training/pretraining/methods at one budget: same encoder, views, optimizer and probes.
#
#     FACES=FOLDER FERPLUS=FOLDER LANDMARKS=FOLDER bash training/recipes/compare_methods.sh --budget images --amount 300000
#
# --budget images    every pretraining sees --amount images
# --budget minutes   every pretraining sees the images that its method takes --amount minutes for, by a short trial
#
# Each method is pretrained with each of RATES and the first of SEEDS. The linear probe on FER+'s validation split
# chooses the rate. SimFLE and the best other method are then pretrained with all SEEDS (EVERY=1: all methods are). The
# encoders of the chosen rates get a linear probe, k-NN and a landmark probe. A pretraining or probe that is finished is
# not run again, and a stopped one goes on: start the same command again. A pretraining that fails is named and left out.
#
# Optional: OUT, METHODS, RATES, SEEDS, EVERY, RECIPE, PYTHON, SETTINGS_<method> (of --method_settings).
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${FACES:?set it to faces without labels}" "${FERPLUS:?set it to the folder of FER+}"
: "${LANDMARKS:?set it to the folder of landmarks}"
python=${PYTHON:-python}
out=${OUT:-runs/methods} every=${EVERY:-0} recipe=${RECIPE:-training/recipes/compare_methods.yaml}
read -ra rates <<< "${RATES:-0.05 0.2 0.8}"
read -ra seeds <<< "${SEEDS:-0 1 2}"
SETTINGS_moco=${SETTINGS_moco:-queue_size=4096} # of small sets of faces: a queue of 65,536 would hold each face twice
there=$(cd training/pretraining/methods && ls -- [!_]*.py | sed 's/\.py$//')
read -ra methods <<< "${METHODS:-$(echo $there)}"
budget=images amount=300000
while [ $# -gt 0 ]; do
    case "$1" in
        --budget) budget=${2:?--budget needs images or minutes} ;;
        --amount) amount=${2:?--amount needs a number} ;;
        *) echo "compare_methods.sh: unknown argument $1; known are --budget and --amount." >&2; exit 2 ;;
    esac
    shift 2
done
case "$budget" in images | minutes) ;; *) echo "compare_methods.sh: --budget $budget must be images or minutes." >&2; exit 2 ;; esac

pretraining() {
    local settings=SETTINGS_$1
    $python training/pretrain.py --recipe "$recipe" --dataset "$FACES" --method "$1" \
        ${!settings:+--method_settings ${!settings}} "${@:2}"
}

# images_of METHOD: how many images a pretraining sees.
images_of() {
    if [ "$budget" = images ]; then echo "$amount"; return; fi
    local trial=$out/trials/$1
    [ -f "$trial/model.safetensors" ] || { rm -rf "$trial"; pretraining "$1" --num_train_epochs 1 --max_train_steps 20 \
        --output_dir "$trial" >&2; }
    sed -n '$s/.*"images_per_second": \([0-9.]*\).*/\1/p' "$trial/metrics.jsonl" | awk -v m="$amount" '{printf "%d\n", $1 * 60 * m}'
}

# pretrain METHOD RATE SEED: into $out/pretraining/METHOD/rate_RATE/seed_SEED; fails where the pretraining does.
pretrain() {
    local folder=$out/pretraining/$1/rate_$2/seed_$3 images
    grep -qs '"finished": true' "$folder/progress.json" && return
    [ ! -f "$folder.failed" ] || return 1
    images=$(images_of "$1")
    pretraining "$1" --base_learning_rate "$2" --seed "$3" --resume_from_checkpoint latest --output_dir "$folder" \
        --num_train_epochs $(((images + faces - 1) / faces)) \
        --max_train_steps $((images / batch > 0 ? images / batch : 1)) && return
    [ $? -ge 128 ] && exit 1 # stopped from outside
    echo "$folder: this pretraining failed and is left out" | tee "$folder.failed"
    return 1
}

# probe SCRIPT FOLDER FLAGS...: once.
probe() {
    [ -f "$2/metrics.json" ] && return
    rm -rf "$2"
    $python "training/$1.py" --output_dir "$2" --num_workers 0 "${@:3}"
}
linear() { probe linear_probe "$1" --model "$2" --dataset "$FERPLUS" --cache_features --features_dir "$out/features" --seed "$3"; }

# measure METHOD RATE SEED: pretrains where that is missing, and probes.
measure() {
    pretrain "$@" || return 0
    local model=$out/pretraining/$1/rate_$2/seed_$3
    if [ "$3" = "$first" ] && [ ! -d "$out/probes/linear/$1/seed_$3" ]; then # the probe that chose the rate
        mkdir -p "$out/probes/linear/$1"
        cp -R "$out/choosing/$1/rate_$2" "$out/probes/linear/$1/seed_$3"
    fi
    linear "$out/probes/linear/$1/seed_$3" "$model" "$3"
    probe knn_probe "$out/probes/knn/$1/seed_$3" --model "$model" --dataset "$FERPLUS" --features_dir "$out/features" --seed "$3"
    probe landmark_probe "$out/probes/landmarks/$1/seed_$3" --model "$model" --dataset "$LANDMARKS" --seed "$3"
}

# write_report: the table of what is there so far.
write_report() {
    local labels=() compared=() method kind base other
    for method in "${methods[@]}"; do
        for kind in linear knn landmarks; do
            base=$out/probes/$kind/simfle other=$out/probes/$kind/$method
            [ -d "$other" ] || continue
            labels+=(--labels "$other=$method")
            [ "$method" != simfle ] && [ -d "$base" ] || continue
            [ "$(ls "$base")" = "$(ls "$other")" ] || { base=$base/seed_$first other=$other/seed_$first; }
            compared+=(--compare "$base" "$other")
        done
        [ ! -d "$out/choosing/$method" ] || labels+=(--choosing "$out/choosing/$method=$method")
    done
    $python training/report.py "$out/probes" "${labels[@]}" ${compared[@]+"${compared[@]}"} --costs true \
        --output_md "$out/report.md" --output_csv "$out/report.csv"
}

first=${seeds[0]}
dry=$(pretraining "${methods[0]}" --num_train_epochs 1 --output_dir "$out/dry" --dry_run true)
read -r faces _ batch _ < <(echo "$dry" | sed -n '1s/,//p')
for method in "${methods[@]}"; do
    for rate in "${rates[@]}"; do
        pretrain "$method" "$rate" "$first" || continue
        linear "$out/choosing/$method/rate_$rate" "$out/pretraining/$method/rate_$rate/seed_$first" "$first"
    done
done
rate_of() { basename "$(dirname "$($python training/report.py "$out/choosing/$1" --best true)")" | sed 's/^rate_//'; }
others=()
for method in "${methods[@]}"; do
    [ -d "$out/choosing/$method" ] || continue # every rate failed
    measure "$method" "$(rate_of "$method")" "$first"
    [ "$method" = simfle ] || others+=("$out/probes/linear/$method")
done
write_report
again=("${methods[@]}")
if [ "$every" = 0 ] && [ ${#others[@]} -gt 0 ]; then
    best=$($python training/report.py "${others[@]}" --best true)
    again=(simfle "$(basename "$(dirname "$(dirname "$best")")")")
fi
for seed in "${seeds[@]:1}"; do
    for method in "${again[@]}"; do
        [ ! -d "$out/choosing/$method" ] || measure "$method" "$(rate_of "$method")" "$seed"
    done
done
write_report
