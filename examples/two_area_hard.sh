#!/usr/bin/env bash
# The published hard-matching fit (Sourmpis et al. 2023) on the artificial two-area recording, three seeds.
# Writes data/two_area.h5 and runs/two_area_hard_0 … _2. A run that was interrupted goes on when this is called again.
set -euo pipefail
cd "$(dirname "$0")/.."
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}

[ -e data/two_area.h5 ] || "$snnfit" synth two-area --out data/two_area.h5
for seed in 0 1 2; do
  run=runs/two_area_hard_$seed
  if [ -e "$run" ]; then
    "$snnfit" train --resume "$run"
  else
    "$snnfit" train --config configs/two_area_hard.toml --seed "$seed" --out "$run"
  fi
done
"$snnfit" evaluate runs/two_area_hard_0 runs/two_area_hard_1 runs/two_area_hard_2
