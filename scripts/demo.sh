#!/usr/bin/env bash
# From a fresh clone to a fitted network: sets up, builds, generates a small recording, fits it, evaluates the fit.
# The first build takes a while (burn is large); the fit itself takes about two minutes of processor time.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\ndemo: %s\n' "$*"; }

scripts/setup.sh

say "building"
cargo build --release --workspace
target=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
snnfit=$target/release/snnfit
snnfit=${snnfit#"$PWD/"}

recording=data/quickstart.h5
if [ -e "$recording" ]; then
  say "using the recording $recording that is there"
else
  say "generating $recording"
  "$snnfit" synth two-area --small --out "$recording"
fi

run=runs/quickstart
number=2
while [ -e "$run" ]; do
  run=runs/quickstart-$number
  number=$((number + 1))
done
if [ "$run" != runs/quickstart ]; then
  say "runs/quickstart exists and stays as it is; this run goes to $run"
fi

say "fitting; Ctrl-C stops with a checkpoint, and the run can go on later"
status=0
trap : INT # Ctrl-C is for the fit; this script waits for its end
"$snnfit" train --config configs/quickstart.toml --out "$run" || status=$?
trap - INT
if [ "$status" -ne 0 ]; then
  if [ -e "$run/manifest.json" ]; then
    say "the fit ended with exit code $status (see $snnfit help exit-codes). It goes on with
  $snnfit train --resume $run"
  fi
  exit "$status"
fi

say "evaluating on the trials that the fit has not seen"
"$snnfit" evaluate "$run"

say "done. What is where:
  $run/report/index.html   findings, metrics and pictures on one page, for a browser
  $run/metrics.json        the numbers above, with intervals, nulls and references
  $run/run.toml            every setting of the run

What to do next:
  # spike trains of the fitted network, as a recording
  $snnfit simulate $run --trials 400 --out $run/model.h5
  # a configuration for your own recording; docs/FORMATS.md describes the file it needs
  $snnfit config init --model rsnn --out fit.toml"
