#!/usr/bin/env bash
# Runs the tests of the runtime and the executors again and again, two processes at a time on busy
# cores, to find what happens once in a thousand. Usage: scripts/repeat-tests.sh [RUNS], default 100.
set -euo pipefail
cd "$(dirname "$0")/.."
runs="${1:-100}"
mapfile -t binaries < <(cargo test -p loopool -p loopool-executors --all-features --no-run --message-format=json \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
failed=0
for run in $(seq "$runs"); do
    for binary in "${binaries[@]}"; do
        log="$(mktemp)"
        # `cargo test` runs a package's tests in its own folder.
        if ! timeout 300 "$binary" --quiet >"$log" 2>&1; then
            failed=$((failed + 1))
            printf 'run %s of %s failed; its output: %s\n' "$run" "$binary" "$log"
        else
            rm -f "$log"
        fi
    done
done
printf '%s runs, %s failures\n' "$runs" "$failed"
[ "$failed" -eq 0 ]
