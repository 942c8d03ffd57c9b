# What the experiments share; to be sourced, from the repository's folder. Needs $snnfit.

# How the run's last attempt ended: max_steps, converged, …; nothing where it still goes on or was killed.
ended() { # run
    python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["attempts"][-1].get("stop_reason") or "")' "$1/manifest.json" 2>/dev/null || true
}

# Whether a run has taken all its steps.
is_done() { # run
    case $(ended "$1") in max_steps | converged) return 0 ;; *) return 1 ;; esac
}

# Fits, or goes on with a fit; one that is done, or can't go on, is left alone. A failure is told and passed over, but for a
# signal, which ends the experiment: the fit has a checkpoint then.
fit() { # run, options of train
    local run=$1 code=0
    shift
    case $(ended "$run") in max_steps | converged | diverged | failed) return 0 ;; esac
    if [ -d "$run" ]; then
        "$snnfit" train --resume "$run" || code=$?
    else
        "$snnfit" train --out "$run" "$@" || code=$?
    fi
    case $code in
    0) ;;
    130 | 143) exit "$code" ;;
    *) echo "$run: exit $code" >&2 ;;
    esac
}

# Refuses a folder whose results were made with other settings, and notes those of this one.
keep_settings() { # folder, settings
    set -- "$1" "$(printf '%s' "$2")" # without line ends at the end, as they are read back
    if [ -f "$1/settings" ] && [ "$(cat "$1/settings")" != "$2" ]; then
        echo "$1 has results of other settings (see $1/settings): name another folder" >&2
        exit 2
    fi
    if [ ! -f "$1/settings" ] && [ -n "$(find "$1" -name '*.json' -print -quit)" ]; then
        echo "$1 has results, and no file settings that says of what: name another folder" >&2
        exit 2
    fi
    echo "$2" >"$1/settings"
}

# What configurations say, without their comments, as a short hash: for the settings of results.
config_hash() { # configurations
    sed 's/ *#.*//; /^$/d' "$@" | sha256sum | cut -c1-12
}

# Options of train by SETS, a `--set` in each line, and STEPS: the array `more`.
more_options() {
    local line
    more=()
    while IFS= read -r line; do
        [ -z "$line" ] || more+=(--set "$line")
    done <<<"${SETS:-}"
    [ -z "${STEPS:-}" ] || more+=(--set "train.max_steps = $STEPS")
}
