#!/usr/bin/env bash
# Installs the system packages that snnfit needs on Debian (12 or newer) and does nothing when all are there.
#
# Expected beforehand: Rust 1.95 or newer, and a C compiler, whose linker Rust uses.
set -euo pipefail

# libhdf5-dev, pkg-config              recordings are HDF5 files; the library is linked from the system
# mesa-vulkan-drivers, libvulkan1      Vulkan on the processor (lavapipe), for the test that opens a GPU device
# python3-venv                         pynwb and h5py, which tests compare with (scripts/python.sh)
packages=(libhdf5-dev pkg-config mesa-vulkan-drivers libvulkan1 python3-venv)

say() { printf 'setup: %s\n' "$*"; }

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

for tool in cargo cc; do
  if ! command -v "$tool" >/dev/null; then
    case $tool in
      cargo) say "cargo is missing: install Rust 1.95 or newer with rustup (https://rustup.rs)" ;;
      cc) say "a C compiler is missing: apt-get install gcc" ;;
    esac >&2
    exit 1
  fi
done

if ! command -v dpkg-query >/dev/null; then
  if pkg-config --exists hdf5 2>/dev/null || [ -n "${HDF5_DIR:-}" ]; then
    say "this is not Debian, but HDF5 is there; nothing to do"
    exit 0
  fi
  say "this script knows Debian only; install HDF5 1.10 or newer with its headers and pkg-config, or set HDF5_DIR" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  say "nothing to do: ${packages[*]} are installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    say "run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
say "installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
say "done"
