#!/usr/bin/env bash
# Attacks a pool of processes with faults of every kind, and kills a program that has such pools at random
# moments: no job may be lost or have the wrong end, and nothing may be left of the program. Takes some minutes.
# Usage: scripts/chaos.sh [JOBS [KILLS]]; 10000 and 200 by default. LOOPOOL_TEST_SEED draws other faults and
# moments. The last line is what both came to; the exit code is 0 only if both were well.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs="${1:-10000}"
kills="${2:-200}"
seed="${LOOPOOL_TEST_SEED:-1}"

numbers='^[0-9]+ [0-9]+ [0-9]+$'
if [ "$#" -gt 2 ] || ! [[ "$jobs $kills $seed" =~ $numbers ]]; then
    echo "usage: scripts/chaos.sh [JOBS [KILLS]]" >&2
    exit 2
fi

# Built first, so that one that does not build is not counted as one that fails.
cargo build --release --locked -p loopool-examples --bin chaos
cargo test --locked -p loopool-executors --test parent_killed --no-run

faults="ok"
cargo run --release --locked -p loopool-examples --bin chaos -- \
    --jobs "$jobs" --workers 2 --seed "$seed" || faults="FAILED"
moments="ok"
LOOPOOL_TEST_KILLS="$kills" LOOPOOL_TEST_SEED="$seed" \
    cargo test --locked -p loopool-executors --test parent_killed || moments="FAILED"
printf '%s jobs with faults: %s; a program killed at %s moments: %s (seed %s)\n' \
    "$jobs" "$faults" "$kills" "$moments" "$seed"
[ "$faults" = ok ] && [ "$moments" = ok ]
