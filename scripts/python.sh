#!/usr/bin/env bash
# Prints the path of a Python interpreter with the packages that tests compare with, and makes it first if need be.
#
#   SNNFIT_PYTHON_ENV  folder of the virtual environment [default: ~/.cache/snnfit-python]
set -euo pipefail
cd "$(dirname "$0")/.."
environment=${SNNFIT_PYTHON_ENV:-$HOME/.cache/snnfit-python}
requirements=tests/python/requirements.txt
installed=$environment/requirements.txt

if ! cmp -s "$requirements" "$installed"; then
  if ! command -v python3 >/dev/null; then
    echo "python: python3 is missing: install Python 3.11 or newer with venv" >&2
    exit 1
  fi
  [ -x "$environment/bin/python" ] || python3 -m venv "$environment" >&2
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2
  # Last, so that an installation that was cut off is made anew.
  cp "$requirements" "$installed"
fi
echo "$environment/bin/python"
