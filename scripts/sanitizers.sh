#!/usr/bin/env bash
# The tests of the runtime and the executors under AddressSanitizer, with its leak check. Needs a nightly
# toolchain. Usage: scripts/sanitizers.sh
set -euo pipefail
cd "$(dirname "$0")/.."
target="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --target "$target" --target-dir target/address \
    -p loopool -p loopool-executors --features loopool/hyper --lib --tests "$@"
