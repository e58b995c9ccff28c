#!/usr/bin/env bash
# Counts the instructions of one operation on the hot paths and compares them with those recorded in
# benches/instructions.txt. It fails when one needs notably more, and says when one needs notably fewer, so
# that this is recorded. With another compiler than the recorded one it warns, but does not fail. Needs
# valgrind; where there is none it says so and checks nothing.
# Usage: scripts/instructions.sh [--record]; with --record it writes what it counts to that file.
set -euo pipefail
cd "$(dirname "$0")/.."
record=benches/instructions.txt
# In per cent: ten times what runs of one program differ by.
limit=2
workloads=(spawn_join spawn_many chain yield pair_switch ping_pong mpsc_1_1 mutex timer_cancel
    timeout_ready echo)
# The difference of two runs leaves out start and end.
few=5000
many=15000

case "${1:-}" in
    "" | --record) ;;
    *)
        echo "usage: scripts/instructions.sh [--record]" >&2
        exit 2
        ;;
esac
if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: valgrind is not installed, so no instructions were counted"
    exit 0
fi
cargo build --release --locked -p loopool-benches --bin compare
compare="${CARGO_TARGET_DIR:-target}/release/compare"
compiler="$(rustc -vV | sed -n '1p; s/^host: //p' | paste -sd ' ')"

# A loop's maintenance comes as often as the clock says: it is left out.
maintenance=loopool::event_loop::core::Core::maintain
if ! grep -q 4Core8maintain "$compare"; then
    echo "$compare has no function $maintenance, which is to be left out of the count" >&2
    exit 1
fi

# Of so many operations, with start and end. On one loop, because what two do is never the same twice.
instructions() {
    local output
    # The first option alone would count nothing but that function; the second one turns it round.
    output="$(valgrind --tool=callgrind --toggle-collect="$maintenance" --collect-atstart=yes \
        --callgrind-out-file=/dev/null "$compare" single "$1" --runtime loopool-1 --ops "$2" 2>&1)" || {
        printf '%s\n' "$output" >&2
        return 1
    }
    sed -n 's/.*Collected : //p' <<<"$output"
}

counted=""
for workload in "${workloads[@]}"; do
    start="$(instructions "$workload" "$few")"
    whole="$(instructions "$workload" "$many")"
    counted+="$(printf '%-14s %5d' "$workload" $(((whole - start + (many - few) / 2) / (many - few))))"$'\n'
done

if [ "${1:-}" = --record ]; then
    cat >"$record" <<END
# Instructions in user space per operation, on one loop; written by scripts/instructions.sh --record.
# Runs of one program differ by less than 0.2 %, whatever else the machine does. $limit % more fail.
# $compiler
${counted%$'\n'}
END
    cat "$record"
    exit 0
fi

printf '%-14s %8s %8s\n' "" recorded now
failed=0
unknown=0
while read -r workload now; do
    before="$(sed -n "s/^$workload  *//p" "$record")"
    verdict=""
    if [ -z "$before" ]; then
        verdict="not recorded"
        unknown=1
    elif [ $((now * 100)) -gt $((before * (100 + limit))) ]; then
        verdict="MORE"
        failed=1
    elif [ $((now * 100)) -lt $((before * (100 - limit))) ]; then
        verdict="fewer: record it, with scripts/instructions.sh --record"
    fi
    printf '%-14s %8s %8d%s\n' "$workload" "${before:--}" "$now" "${verdict:+  $verdict}"
done <<<"${counted%$'\n'}"

if ! grep -qxF "# $compiler" "$record"; then
    echo "WARNING: recorded with another compiler, so nothing follows from that; this one is $compiler"
    exit 0
fi
if [ "$failed" -ne 0 ]; then
    echo "more than $limit % above what is recorded; if that is worth it, scripts/instructions.sh --record" >&2
fi
if [ "$unknown" -ne 0 ]; then
    echo "a workload is not recorded in $record: record it, with scripts/instructions.sh --record" >&2
fi
exit $((failed | unknown))
