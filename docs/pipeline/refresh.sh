#!/bin/sh
# Records a release of a workload under Docker and refreshes its profiles: what a release pipeline runs.
#
#   refresh.sh [--check] DIR [DOCKER-RUN-OPTION…] IMAGE [COMMAND [ARG…]]
#
# DIR holds the workload's workload.toml. Everything after it is for `docker run`; the container must do what the
# workload does in production, and end. The exit code is that of `sandbox-trace refresh`, or 125 if the workload
# itself failed.
#
# Taken from the environment:
#   RUNS           how many runs are recorded (1)
#   SUMMARY        where the summary goes (sandbox-summary.md)
#   COMMENT        a command that gets the summary on its standard input: gh pr comment "$PR" --body-file -
#   SANDBOX_TRACE  the program (sandbox-trace)
#   DOCKER_HOST    the engine, where it is not the usual one
set -eu

runs=${RUNS:-1} summary=${SUMMARY:-sandbox-summary.md} tool=${SANDBOX_TRACE:-sandbox-trace}
check=
if [ "${1-}" = --check ]; then
  check=--check
  shift
fi
if [ $# -lt 2 ]; then
  echo "usage: $0 [--check] DIR [DOCKER-RUN-OPTION…] IMAGE [COMMAND…]" >&2
  exit 2
fi
folder=$1
shift
# Recording needs root; nothing else here does.
as_root=
[ "$(id -u)" = 0 ] || as_root='sudo --preserve-env=DOCKER_HOST'

work=$(mktemp -d)
name=sandbox-trace-refresh-$$
recorder=
clean() {
  docker rm --force "$name" >/dev/null 2>&1 || true
  [ -z "$recorder" ] || $as_root kill "$recorder" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

run=1
while [ "$run" -le "$runs" ]; do
  # The container need not exist yet: it is recorded from its first instruction on.
  $as_root "$tool" record --container "$name" --wait --output "$work/run-$run.json" 2>"$work/log" &
  recorder=$!
  until grep -q '^armed$' "$work/log"; do
    if ! kill -0 "$recorder" 2>/dev/null; then
      cat "$work/log" >&2
      wait "$recorder"
      exit 5
    fi
    sleep 0.1
  done
  if ! docker run --rm --name "$name" "$@"; then
    echo "$0: the workload failed: nothing is made of that" >&2
    exit 125
  fi
  wait "$recorder"
  recorder=
  run=$((run + 1))
done

code=0
"$tool" refresh "$folder" $check --recording "$work"/run-*.json --summary "$summary" || code=$?
if [ -f "$summary" ]; then
  cat "$summary"
  [ -z "${COMMENT-}" ] || sh -c "$COMMENT" <"$summary"
fi
exit "$code"
