#!/usr/bin/env bash
# AddressSanitizer, with its leak check, over the tests of the runtime and the executors; ThreadSanitizer over
# the stress program. Needs a nightly toolchain; with its `rust-src` the standard library is checked, too.
# Usage: scripts/sanitizers.sh [address|thread], default both. LOOPOOL_STRESS_SECONDS says how long the
# stress program runs, 60 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
target="$(rustc -vV | sed -n 's/^host: //p')"

address() {
    # Without memory that is kept for the next task, so that the use of a freed one is seen.
    LSAN_OPTIONS="suppressions=$PWD/scripts/lsan-suppressions.txt:print_suppressions=0" \
        RUSTFLAGS="-Zsanitizer=address --cfg loopool_plain_memory" cargo +nightly test \
        --target "$target" --target-dir target/address \
        -p loopool -p loopool-executors --features loopool/hyper --lib --tests --no-fail-fast
}

thread() {
    # Crossbeam's name for its deque without fences, which ThreadSanitizer ignores.
    local flags="-Zsanitizer=thread --cfg crossbeam_sanitize_thread" std=() options="halt_on_error=0"
    local seconds="${LOOPOOL_STRESS_SECONDS:-60}"
    if [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
        std=(-Zbuild-std)
    else
        # What is generic in the standard library is built here, and so for the sanitizer; of the rest it
        # is told.
        flags+=" -Cunsafe-allow-abi-mismatch=sanitizer -Zshare-generics=no --cfg loopool_thread_sanitizer"
        flags+=" -Clink-arg=-Wl,--wrap=__tsan_atomic64_fetch_sub"
        flags+=" -Clink-arg=-Wl,--wrap=__tsan_atomic_thread_fence"
        options+=" suppressions=$PWD/scripts/tsan-suppressions.txt"
    fi
    CARGO_PROFILE_DEV_OPT_LEVEL=1 RUSTFLAGS="$flags" TSAN_OPTIONS="$options" \
        LOOPOOL_STRESS_SECONDS="$seconds" cargo +nightly test "${std[@]}" --target "$target" \
        --target-dir target/thread -p loopool --test stress
}

case "${1:-both}" in
    address) address ;;
    thread) thread ;;
    both)
        address
        thread
        ;;
    *)
        echo "usage: scripts/sanitizers.sh [address|thread]" >&2
        exit 2
        ;;
esac
