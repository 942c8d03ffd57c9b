#!/usr/bin/env bash
# Makes the folder that gpu.sh works on: the stripped program with its shared libraries, the baselines, a configuration.
# What it makes runs on a machine of the same architecture with the same or a newer glibc.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
  cat <<'END'
Usage: scripts/bench/pack.sh [OPTIONS] DIR

Packs a release build for scripts/bench/gpu.sh into DIR, which must not exist, be empty, or be an earlier pack, which is
replaced. It builds nothing. On the other machine: DIR/gpu.sh

Options:
  --snnfit FILE  program to pack [default: ${CARGO_TARGET_DIR:-target}/release/snnfit]
  --six-area     with data/six_area.h5 (30 MiB), which takes minutes to make on the other machine
  -h, --help     this text

Environment:
  SNNFIT_SHARED  folder with baseline/torch_rsnn.py and baseline/jax_rsnn.py [default: ../shared beside the repository]
END
}

say() { printf 'pack: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }
misused() { say "$*; pack.sh -h lists the options" >&2; exit 2; }

limit_mib=60
snnfit=${CARGO_TARGET_DIR:-$root/target}/release/snnfit
baselines=${SNNFIT_SHARED:-$root/../shared}/baseline
folder=
with_six_area=no

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --snnfit)
      [ $# -ge 2 ] || misused "$1 needs a value"
      snnfit=$2
      shift ;;
    --six-area) with_six_area=yes ;;
    -*) misused "unexpected argument '$1'" ;;
    *)
      [ -z "$folder" ] || misused "unexpected argument '$1'"
      folder=$1 ;;
  esac
  shift
done
[ -n "$folder" ] || misused "no folder is named"
if ! [ -f "$snnfit" ] || ! [ -x "$snnfit" ]; then
  fail "no program at $snnfit; build it with
  cargo build --release --workspace
or name another with --snnfit"
fi
for tool in strip ldd tar gzip; do
  command -v "$tool" >/dev/null || fail "no program '$tool'"
done
for file in torch_rsnn.py jax_rsnn.py; do
  [ -f "$baselines/$file" ] || fail "there is no $baselines/$file; set SNNFIT_SHARED"
done
if [ -e "$folder" ] && [ ! -f "$folder/PACK.txt" ] && [ -n "$(ls -A "$folder")" ]; then
  fail "$folder is neither empty nor an earlier pack"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/payload/bin" "$work/payload/lib" "$work/pack/baseline" "$work/pack/configs"
strip -o "$work/payload/bin/snnfit" "$snnfit"

# Libraries of the C and C++ runtimes belong to the other machine: a second glibc in a process ends it.
is_base() {
  case $1 in
    linux-vdso.so.* | ld-linux*.so.* | libc.so.* | libm.so.* | libmvec.so.* | libpthread.so.* | libdl.so.*) true ;;
    librt.so.* | libutil.so.* | libresolv.so.* | libanl.so.* | libnsl.so.* | libnss_*.so.*) true ;;
    libgcc_s.so.* | libstdc++.so.*) true ;;
    *) false ;;
  esac
}

libraries() { # file: name and path of each shared library, path "not" where there is none
  ldd "$1" | awk '$2 == "=>" { print $1, $3 }'
}

while read -r name path; do
  is_base "$name" && continue
  [ "$path" != not ] || fail "$snnfit needs $name, which is not installed"
  cp -L "$path" "$work/payload/lib/$name"
done < <(libraries "$snnfit")

# The Vulkan loader is opened by name while snnfit runs, so ldd doesn't list it.
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
loader=$("$ldconfig" -p 2>/dev/null | awk '$1 == "libvulkan.so.1" && /x86-64|AArch64/ { print $NF; exit }' || true)
if [ -n "$loader" ]; then
  cp -L "$loader" "$work/payload/lib/libvulkan.so.1"
else
  say "no libvulkan.so.1 here: the other machine needs one (apt-get install libvulkan1)" >&2
fi

LD_LIBRARY_PATH=$work/payload/lib "$work/payload/bin/snnfit" --version >/dev/null ||
  fail "the packed program doesn't run"

# Equal inputs give equal bytes.
tar -C "$work/payload" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - bin lib | gzip -9n \
  >"$work/pack/payload.tar.gz"
cp "$here/gpu.sh" "$here/gpu_report.py" "$here/summarise.py" "$work/pack/"
cp "$baselines/torch_rsnn.py" "$baselines/jax_rsnn.py" "$work/pack/baseline/"
cp "$root/configs/quickstart.toml" "$root/configs/six_area_soft.toml" "$work/pack/configs/"
if [ "$with_six_area" = yes ]; then
  mkdir "$work/pack/data"
  cp "$root/data/six_area.h5" "$work/pack/data/" ||
    fail "no data/six_area.h5; make it with
  snnfit synth six-area --out data/six_area.h5"
fi
{
  commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  [ -z "$(git -C "$root" status --porcelain 2>/dev/null)" ] || commit+=" with changes that are not committed"
  printf '%s, packed at commit %s\n' "$("$snnfit" --version)" "$commit"
} >"$work/pack/PACK.txt"

bytes=$(find "$work/pack" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
size=$(awk "BEGIN { printf \"%.1f\", $bytes / 1048576 }")
if [ "$bytes" -ge $((limit_mib * 1048576)) ]; then
  say "$size MiB, more than $limit_mib MiB. The largest files, before compression:" >&2
  find "$work/payload" "$work/pack" -type f ! -name payload.tar.gz -printf '%s %P\n' | sort -rn | head -n 10 |
    awk '{ printf "  %6.1f MiB  %s\n", $1 / 1048576, $2 }' >&2
  exit 1
fi

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
cp -R "$work/pack" "$folder"
unpacked=$(find "$work/payload" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.1f", sum / 1048576 }')
n_libraries=$(find "$work/payload/lib" -type f | wc -l)
say "$folder: $size MiB; unpacked, the program and $n_libraries libraries take $unpacked MiB"
