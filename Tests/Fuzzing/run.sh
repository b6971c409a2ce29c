#!/bin/bash
# Fuzzes every reader of what others write, two at a time: run.sh SECONDS [READER...]
# Inputs that were found go to .build-fuzz/corpus, and one that breaks something to .build-fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
readers=("$@")
[ $# -gt 0 ] || readers=(yaml token http address cgroup found span date json answer text key jwks
  ring)
program=.build-fuzz/release/Fuzzing

fuzz() {
  local seeds=(Tests/Fuzzing/corpus/"$1")
  # The configurations of the other tests, good and bad.
  [ "$1" != yaml ] || seeds=(Tests/fixtures/valid Tests/fixtures/invalid Config)
  mkdir -p ".build-fuzz/corpus/$1"
  # SWIFT_BACKTRACE: Swift's own reports would get in the way of libFuzzer's.
  if JOTD_FUZZ=$1 SWIFT_BACKTRACE=enable=no "$program" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -artifact_prefix=".build-fuzz/$1-" ".build-fuzz/corpus/$1" "${seeds[@]}" \
    > ".build-fuzz/$1.log" 2>&1; then
    echo "$1: $(grep -E '^Done ' ".build-fuzz/$1.log")," \
      "$(grep -oE 'cov: [0-9]+' ".build-fuzz/$1.log" | tail -n 1)"
  else
    tail -n 40 ".build-fuzz/$1.log"
    echo "$1: broken; the input is the file .build-fuzz/$1-..."
    return 1
  fi
}
export -f fuzz
export seconds program
printf '%s\n' "${readers[@]}" | xargs -P 2 -I READER bash -c 'fuzz READER'
