#!/usr/bin/env bash
# Runs the tests of the runtime, the executors and the service again and again, two programs at a time
# on busy cores, to find what happens once in a thousand.
# Usage: scripts/repeat-tests.sh [RUNS [MINUTES]]; 100 runs by default, and begins nothing after so many
# minutes. Whoever fails is named, and its output is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
runs="${1:-100}"
minutes="${2:-}"

artifacts="$(cargo test -p loopool -p loopool-executors -p loopool-examples --all-features --no-run \
    --message-format=json)"
# A line for each test program: the folder of its package, and where it is.
mapfile -t tests < <(sed -n \
    's/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"test":true},"features".*"executable":"\([^"]*\)".*/\1 \2/p' \
    <<<"$artifacts")
outputs="$(mktemp -d)"

# Runs one program, as `cargo test` does it: in the folder of its package.
run_one() {
    local run="$1" folder="$2" program="$3"
    local output="$outputs/${program##*/}.$run" status=0
    (cd "$folder" && CARGO_MANIFEST_DIR="$folder" timeout --kill-after=10 300 "$program") \
        >"$output" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        rm "$output"
    else
        printf 'run %s of %s/%s failed with %s; its output: %s\n' \
            "$run" "${folder##*/}" "${program##*/}" "$status" "$output"
    fi
}

SECONDS=0
complete=0
for run in $(seq "$runs"); do
    for test in "${tests[@]}"; do
        if [ -n "$minutes" ] && [ "$SECONDS" -ge $((minutes * 60)) ]; then
            break 2
        fi
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
            wait -n
        done
        run_one "$run" "${test% *}" "${test##* }" &
    done
    complete="$run"
done
wait

failed="$(find "$outputs" -type f | wc -l)"
printf '%s runs of %s binaries, %s failures\n' "$complete" "${#tests[@]}" "$failed"
[ "$failed" -eq 0 ]
rmdir "$outputs"
