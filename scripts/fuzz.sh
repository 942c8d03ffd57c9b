#!/usr/bin/env bash
# Damages recordings of every format at random and reads them: no panic, hang or ending by a signal may come of it.
#
#   scripts/fuzz.sh [N [SEED]]     # damaged copies of each sound file [default: 1000] and the seed [0]
#
# Sound files are made with pynwb, NumPy and pandas (scripts/python.sh), recordings by snnfit itself. Formats read by our own
# code are read within the fuzzer, HDF5 (NWB, recordings, files without a format) by a process of its own and, where that ends, by the program.
# Findings are kept in fuzz-findings/. SNNFIT: the program [default: target/release/snnfit].
set -euo pipefail
cd "$(dirname "$0")/.."
n=${1:-1000}
seed=${2:-0}
built=${CARGO_TARGET_DIR:-target}/release
snnfit=${SNNFIT:-$built/snnfit}
# The whole workspace, so that burn is not compiled with other features.
cargo build --quiet --release --workspace --bin snnfit --example fuzz
python=$(scripts/python.sh)
sound=$(mktemp -d)
trap 'rm -rf "$sound"' EXIT
"$python" tests/python/make_arrays.py "$sound"
mkdir "$sound/nwb"
"$python" tests/python/make_nwb.py "$sound/nwb"
mkdir "$sound/hdf5"
"$python" tests/python/make_hdf5.py "$sound/hdf5"
"$snnfit" synth two-area --small --out "$sound/native.h5" >/dev/null

# Tables of one session are read together. The times of clusters.h5 are samples, which no plan of the fuzzer says.
mapfile -t files < <(find "$sound/npz" -type f | sort)
mapfile -t hdf5 < <(find "$sound/nwb" "$sound/hdf5" -size -2M \( -name '*.nwb' -o -name '*.h5' \) ! -name clusters.h5 | sort)
status=0
"$built/examples/fuzz" --n "$n" --seed "$seed" "$sound/alf" "$sound/phy" "$sound/csv" "${files[@]}" || status=$?
"$built/examples/fuzz" --n "$n" --seed "$seed" --program "$snnfit" "${hdf5[@]}" \
  "$sound/native.h5" || status=$?
exit "$status"
