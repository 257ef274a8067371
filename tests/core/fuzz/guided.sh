#!/usr/bin/env bash
# Fuzzing guided by coverage: libFuzzer, with the stable toolchain and a C++ compiler.
#
#     tests/core/fuzz/guided.sh SECONDS [TEST...]
#
# builds the targets with counters into target/fuzz, which takes a while the first time, and runs each TEST for so long;
# all of them when none is named. `cargo test --test core --test server fuzz:: -- --list` names them. Inputs that reach new code are kept in
# target/fuzz/corpus. One that fails is kept in a folder __fuzz__ beside its target, where every `cargo test` runs it from then on.
set -euo pipefail
cd "$(dirname "$0")/../../.."
seconds=${1:?how many seconds each target runs, as in: tests/core/fuzz/guided.sh 600}
shift

host=$(rustc -vV | sed -n 's/^host: //p')
# Cargo builds the program beside its tests. It is not run, so it may lack what libFuzzer brings.
flags=(--cfg fuzzing --cfg fuzzing_libfuzzer -Ccodegen-units=1 -Cpasses=sancov-module
    -Clink-arg=-Wl,--unresolved-symbols=ignore-all -Cllvm-args=-sanitizer-coverage-level=4)
for counter in inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$counter")
done
build=(cargo test --release --target "$host" --target-dir target/fuzz --test core --test server --no-run)
RUSTFLAGS="${flags[*]}" "${build[@]}"
binaries=$(RUSTFLAGS="${flags[*]}" "${build[@]}" --message-format json 2> /dev/null |
    sed -n 's/.*"executable":"\([^"]*\/\(core\|server\)-[^"]*\)".*/\1/p')

# bolero names its targets when it is asked to; what is no target has no line.
found=
for binary in $binaries; do
    list=$(CARGO_BOLERO_SELECT=all "$binary" --nocapture --test-threads 1 "${@:-fuzz::}" 2> /dev/null | grep -o '{"__bolero_target.*}' || true)
    [ -n "$list" ] || continue
    found=yes
    while read -r line; do
        name=$(sed 's/.*"test_name":"\([^"]*\)".*/\1/' <<< "$line")
        crashes=$(sed 's/.*"work_dir":"\([^"]*\)".*/\1/' <<< "$line")/crashes
        corpus=target/fuzz/corpus/$name
        mkdir -p "$corpus" "$crashes"
        printf '\n==> %s, for %s s\n' "$name" "$seconds"
        BOLERO_TEST_NAME=$name BOLERO_LIBTEST_HARNESS=1 \
            BOLERO_LIBFUZZER_ARGS="$corpus $crashes -artifact_prefix=$crashes/ -timeout=10 -max_len=768 -max_total_time=$seconds" \
            "$binary" "$name" --exact --nocapture --quiet --test-threads 1
        rmdir --ignore-fail-on-non-empty -p "$crashes"
    done <<< "$list"
done
[ -n "$found" ] || { echo "there is no such target: see cargo test --test core --test server fuzz:: -- --list" >&2; exit 2; }
