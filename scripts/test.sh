#!/usr/bin/env bash
# Every check of this repository: formatting, lints, tests. Prints how long each took.
#
# Always the whole workspace in one profile: so burn is compiled once, with one set of features (docs/ARCHITECTURE.md,
# "Building"). Arguments go to `cargo test`, for example: scripts/test.sh --test promises resume
set -euo pipefail
cd "$(dirname "$0")/.."

# The Vulkan driver asks for this directory.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
  XDG_RUNTIME_DIR=$(mktemp -d)
  export XDG_RUNTIME_DIR
  trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

stage() {
  local start=$SECONDS
  printf '\n== %s\n' "$*"
  "$@"
  printf '== %s: %d s\n' "$*" $((SECONDS - start))
}

stage cargo fmt --check
stage cargo clippy --release --workspace --all-targets -- -D warnings
stage cargo test --release --workspace "$@"
