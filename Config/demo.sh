#!/bin/sh
# demo.sh JOTD: runs that program as demo.yaml says, in a new folder of the caller's own below
# ${TMPDIR:-/tmp}, which goes when the demonstration ends. So nobody meets what another left there.
set -eu
jotd=$1
here=$(cd "$(dirname "$0")" && pwd)
demo=$(mktemp -d -t jotd-demo.XXXXXX)
trap 'rm -rf "$demo"' EXIT

sed "s|/tmp/jotd-demo|$demo|" "$here/demo.yaml" > "$demo/jotd.yaml"
(umask 077 && printf %s "$("$jotd" secret)" > "$demo/secret")
cat <<EOF
== jotd keeps three tokens fresh, as Config/demo.yaml says. In another terminal, try:
     cat $demo/viewer.jwt
     $jotd decode < $demo/viewer.jwt
     cat $demo/operator.env $demo/admin.json
     $jotd status --watch --config $demo/jotd.yaml
     curl --unix-socket $demo/jotd.sock http://jotd/health
   and again ten seconds later. Ctrl-C stops it.
EOF

"$jotd" run --config "$demo/jotd.yaml" &
stopping=
trap 'stopping=1; kill $! 2>/dev/null' HUP INT TERM
status=0
wait $! || status=$?
# The signal ended that wait, and not yet jotd.
if [ "$stopping" ]; then
  trap '' HUP INT TERM
  status=0
  wait $! || status=$?
fi
exit $status
