#!/bin/sh
# The DAG `training` as one script: training.sh TAG TRIALS QUERY MODEL
# It needs the variables BREEZEWAY_* of a platform that runs, and BREEZEWAY_RESULT for a file.
set -eu
tag=$1 trials=$2 query=$3 model=$4

begin() { echo "$1 begins at $(date +%s.%N)"; }

step() {
    begin "$1"
    name=$1
    shift
    python -m "breezeway.steps.$name" "$@"
}

result() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$BREEZEWAY_RESULT"; }

# A task of the DAG that is no step: its name, its code and two arguments.
task() {
    begin "$1"
    python -c "
import json, os, sys, time
from pathlib import Path
from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
settings, name, began = Settings.from_environment(), sys.argv.pop(1), time.monotonic()
$2
Path(os.environ['BREEZEWAY_RESULT']).write_text(json.dumps(result, separators=(',', ':')))
print(f'{name} done in {time.monotonic() - began:.1f} s')
" "$1" "$3" "$4"
}

step preprocess --tag "$tag" --query "$query"

task publish_data "
from breezeway.datasets import versions
version = versions.publish(settings, Path(sys.argv[1]), sys.argv[2], message='by the script')
result = {'tag': version.tag}
" "$(result folder)" "$tag"

step tune --tag "$tag" --count "$trials"

task publish_params "
from breezeway.datasets import versions
version = versions.publish_params(settings, Path(sys.argv[1]).parent, sys.argv[2])
result = {'tag': version.params_tag}
" "$(result params_file)" "$tag"

step train --tag "$(result tag)" --run-name "$tag" --model-name "$model"
version=$(result model_version)

step test --query "$query" --model-name "$model" --model-version "$version"

task promote "
from breezeway.tracking import champions
gate = load_contract(settings.sensors).gate
decision = champions.pass_gate(settings, sys.argv[1], sys.argv[2], gate)
if not decision.promote:
    sys.exit(decision.reason)
result = {'reason': decision.reason}
" "$model" "$version"

step deploy --model-name "$model" --model-version champion
begin end
