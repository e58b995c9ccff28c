#!/usr/bin/env bash
# Fuzzes the decoders of everything that one process reads and another one has written, with libFuzzer and
# AddressSanitizer. Needs a nightly toolchain and a C++ compiler; cargo-fuzz, if there is one, finds the same
# target in fuzz/. What was found to be of interest is kept in fuzz/corpus, what fails in fuzz/artifacts.
# Usage: scripts/fuzz.sh [SECONDS], 60 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}"

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "SKIPPED: there is no nightly toolchain (rustup toolchain install nightly), so nothing was fuzzed"
    exit 0
fi
if ! command -v c++ >/dev/null; then
    echo "SKIPPED: there is no C++ compiler for libFuzzer, so nothing was fuzzed"
    exit 0
fi
target="$(rustc -vV | sed -n 's/^host: //p')"
# As cargo-fuzz does it.
flags="--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module"
for argument in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$argument"
done
folder="${CARGO_TARGET_DIR:-target}/fuzz"
RUSTFLAGS="$flags" cargo +nightly build --release --manifest-path fuzz/Cargo.toml --target "$target" \
    --target-dir "$folder"
mkdir -p fuzz/corpus/messages fuzz/artifacts/messages
"$folder/$target/release/messages" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix=fuzz/artifacts/messages/ fuzz/corpus/messages
