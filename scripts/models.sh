#!/usr/bin/env bash
# Runs every loom model with its full bounds, as many at a time as there are processors, each for so long at
# most; then, one by one, the bugs of both tables: those that a model must find, and those that a test of
# cancellation must find. May take hours. Says of each model whether it ended, and at last which ones did not.
# Usage: scripts/models.sh [TEST [SECONDS]]
#   TEST     the name of a file in loom-tests/tests, without `.rs`: only its models; `seeded`: only the
#            tables of bugs; `all` by default
#   SECONDS  the limit for one model, 600 by default
# Who is cut off has found nothing so far; the exit code tells of those that failed.
set -euo pipefail
cd "$(dirname "$0")/.."
test="${1:-all}"
seconds="${2:-600}"

if [ "$#" -gt 2 ] || ! [[ "$seconds" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: scripts/models.sh [TEST [SECONDS]]" >&2
    exit 2
fi
if [ "$test" != all ] && ! [ -f "loom-tests/tests/$test.rs" ]; then
    echo "there is no loom-tests/tests/$test.rs" >&2
    exit 2
fi
failed=0

# Runs one model and adds a line to the list of what became of it.
run_one() {
    local file="$1" program="$2" model="$3"
    local output="$outputs/$file.$model" status=0 executions
    (cd loom-tests && LOOPOOL_LOOM_FULL=1 CARGO_MANIFEST_DIR="$PWD" \
        timeout "$seconds" "$program" --exact "$model") >"$output" 2>&1 </dev/null || status=$?
    case "$status" in
        0)
            executions="$(sed -n 's/.*: \([0-9]* executions in .*\)/\1/p' "$output" | paste -sd ,)"
            printf 'ended %s %s: %s\n' "$file" "$model" "${executions:-no model}" | tee -a "$list"
            rm "$output"
            ;;
        124)
            printf 'cut_off %s %s: after %s s\n' "$file" "$model" "$seconds" | tee -a "$list"
            rm "$output"
            ;;
        *)
            printf 'FAILED %s %s: with %s; its output: %s\n' "$file" "$model" "$status" "$output" |
                tee -a "$list"
            ;;
    esac
}

models() {
    local artifacts programs line file program models model which=(--tests)
    if [ "$test" != all ]; then
        which=(--test "$test")
    fi
    artifacts="$(cargo test --release --locked -p loopool-loom-tests "${which[@]}" --no-run \
        --message-format=json)"
    # A line for each test program: its name, and where it is.
    mapfile -t programs < <(sed -n \
        's/.*"kind":\["test"\].*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2/p' \
        <<<"$artifacts")
    outputs="$(mktemp -d)"
    list="$outputs/list"
    touch "$list"
    for line in "${programs[@]}"; do
        file="${line%% *}"
        program="${line#* }"
        if [ "$file" = seeded ]; then
            continue
        fi
        mapfile -t models < <("$program" --list --format terse </dev/null | sed -n 's/: test$//p')
        for model in "${models[@]}"; do
            while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
                wait -n
            done
            run_one "$file" "$program" "$model" &
        done
    done
    wait

    if ! [ -s "$list" ]; then
        echo "there was no model to run" >&2
        failed=1
    fi
    printf '%s models ended, %s were cut off, %s failed\n' "$(grep -c '^ended ' "$list" || true)" \
        "$(grep -c '^cut_off ' "$list" || true)" "$(grep -c '^FAILED ' "$list" || true)"
    sed '/^ended /d' "$list" | sort
    if grep -q '^FAILED ' "$list"; then
        failed=1
    else
        rm -r "$outputs"
    fi
}

bugs() {
    cargo test --release --locked -p loopool-loom-tests --test seeded -- \
        --ignored every_bug_is_found || failed=1
    cargo test --locked -p loopool --test seeded -- --ignored every_bug_is_found || failed=1
}

case "$test" in
    all)
        models
        bugs
        ;;
    seeded) bugs ;;
    *) models ;;
esac
exit "$failed"
