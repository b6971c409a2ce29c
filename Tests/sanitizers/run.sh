#!/bin/bash
# Builds jotd and the pure tests under a sanitizer, `thread` or `address` (with leak checks), into a
# folder of their own, and runs what exercises concurrency and memory. Any report is a failure, also
# that of a daemon whose exit code nobody sees.
set -euo pipefail
cd "$(dirname "$0")/../.."
kind=${1:?thread or address}
build=$PWD/.build-$kind
reports=$build/reports

case $kind in
thread) wrapped="__tsan_external_write" ;;
address) wrapped="_exit CRYPTO_secure_malloc_init" ;;
*) echo "thread or address, not $kind" && exit 64 ;;
esac
# Left out is what sets the clock beneath the sanitizer's feet, reads all of its memory, traces its
# system calls, needs other programs, or gives the daemon less time than a program so slow may take.
tests="not (clock or step or locked_memory or idle or metrics or readers_never or within_a_second \
  or silent or hanging or what_no_longer or new_private or made_durable)"
common="log_path=$reports/report:exitcode=66"
export TSAN_OPTIONS=$common ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=0:$common
export LSAN_OPTIONS=suppressions=$PWD/Tests/sanitizers/leaks.supp:print_suppressions=0

rm -rf "$reports" && mkdir -p "$reports"
# The package manager does not look at what it is told to link in: it links anew what is not there.
rm -f "$build"/debug/jotd "$build"/debug/*.xctest
tools=$(dirname "$(readlink -f "$(command -v "${SWIFT:-swift}")")")
"$tools/clang" -O1 -Wall -Werror -c -o "$build/$kind.o" "Tests/sanitizers/$kind.c"
options=(--sanitize "$kind" --scratch-path "$build" -Xswiftc -use-ld=lld -Xlinker "$build/$kind.o")
for name in $wrapped; do options+=(-Xlinker "--wrap=$name"); done

echo "== Building with the $kind sanitizer"
"${SWIFT:-swift}" build --quiet --build-tests "${options[@]}"
failed=0
echo "== Testing the core"
JOTD_SEEDS=${JOTD_SEEDS:-12} "${SWIFT:-swift}" test --quiet --skip-build "${options[@]}" || failed=1
echo "== Testing the binary"
JOTD=$build/debug/jotd PYTHONPATH=Tests/sanitizers "${PYTHON:-/usr/bin/python3}" -m pytest -q \
  -p no:cacheprovider -p ending -n 4 -k "$tests" \
  Tests/binary/test_{rotation,query,sockets,hooks,tokens,reload}.py || failed=1

for report in "$reports"/*; do
  [ -e "$report" ] && failed=1 && cat "$report"
done
[ $failed = 0 ] && echo "== Nothing found" || exit 1
