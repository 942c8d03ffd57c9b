#!/usr/bin/env bash
# A real recording, from the binned arrays of a file to held-out metrics: the repeated movie of retina_bars.h5
# (data/README.md says where it comes from). Writes data/retina_repeated.h5 and runs/retina.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: examples/retina.sh retina_bars.h5}
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}

"$snnfit" import "$file" --spikes /train_repeated/spikes --stimulus /train_repeated/stimulus \
  --bin-ms 1.667 --area retina --session-id train_repeated --out data/retina_repeated.h5
"$snnfit" inspect data/retina_repeated.h5
"$snnfit" train --config configs/retina_rsnn.toml --out runs/retina
"$snnfit" evaluate runs/retina
