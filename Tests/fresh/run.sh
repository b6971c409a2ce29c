#!/bin/bash
# The README's two commands, on a Debian 12 that has all updates and nothing of this machine but
# Swift: in a tree that debootstrap makes, by an ordinary user with sudo and 1,024 descriptors.
# Needs root. The packages come from where this machine's apt has its own; Swift is the one in
# $SWIFT, and its packages are found where this machine's git finds them.
#
# All is mounted in a mount namespace, all runs in a process namespace, of its own: both end with
# this script, however it ends. The tree is removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
swift=${SWIFT:-swift}
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }

if [ -z "${JOTD_FRESH_TREE:-}" ]; then
  JOTD_FRESH_TREE=$(mktemp -d -p /var/tmp jotd-fresh.XXXXXX)
  export JOTD_FRESH_TREE
  trap 'rm -rf --one-file-system "$JOTD_FRESH_TREE"' EXIT
  # Not in place of this shell, which removes the tree when it is told to end in the middle, too.
  unshare --mount --propagation private --pid --fork --kill-child "$0" &
  trap 'kill $! || true' HUP INT TERM
  status=0
  wait $! || status=$?
  while kill -0 $! 2>/dev/null; do wait $! || status=$?; done
  exit $status
fi
tree=$JOTD_FRESH_TREE
chmod 755 "$tree"
user=builder
home=$tree/home/$user

# A tree of Debian

# What Debian's own part of this machine's sources says: address, release, component.
sources() {
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' \
    'Created-By: Packages' | sort -u |
    awk '$1 == "Debian" && $3 ~ /^bookworm/ && $4 == "main" { print $2, $3, $4 }'
}
mirror=$(sources | awk '$2 == "bookworm" { print $1; exit }')
[ "$mirror" ] || { echo "apt knows no source of Debian 12 here: run apt-get update"; exit 69; }
sources | grep -q bookworm-security || { echo "apt knows no updates of Debian 12 here"; exit 69; }

echo "== Making a tree of Debian 12"
# What the README asks for besides Swift: make, sudo; and what Swift itself asks for.
needed=make,sudo,binutils,git,libc6-dev,libcurl4,libedit2,libgcc-12-dev,libncurses6,libpython3.11
needed+=,libsqlite3-0,libstdc++-12-dev,libxml2,tzdata
debootstrap --variant=minbase --include="$needed" bookworm "$tree" "$mirror" > "$tree.log" ||
  { tail -20 "$tree.log"; rm -f "$tree.log"; exit 1; }
rm -f "$tree.log"
sources | sed 's/^/deb /' > "$tree/etc/apt/sources.list"
# How this machine reaches them.
apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries)[^ ]* "' \
  > "$tree/etc/apt/apt.conf.d/90here" || true
cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"

# What a running system has, and what of this one it gets to see

mount -t proc proc "$tree/proc"
mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
for device in null zero full random urandom tty; do
  touch "$tree/dev/$device"
  mount --bind "/dev/$device" "$tree/dev/$device"
done
mkdir "$tree/dev/pts" "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$tree/dev/pts"
ln -s pts/ptmx "$tree/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
ln -s /proc/self/fd "$tree/dev/fd"
# share PATH: the same path in the tree, read-only.
share() {
  mkdir -p "$tree$1"
  mount --bind "$1" "$tree$1"
  mount -o remount,bind,ro "$tree$1"
}
tools=$(dirname "$(readlink -f "$(command -v "$swift")")")
share "$(dirname "$tools")"
# Where git looks for packages instead of their addresses, if that is on this machine.
git config --get-regexp '^url\..*\.insteadof$' | while read -r key address; do
  base=${key#url.}
  base=${base%.insteadof}
  git config --file "$tree/etc/gitconfig" --add "$key" "$address"
  if [ -d "${base#file://}" ]; then
    mountpoint -q "$tree${base#file://}" || share "$(readlink -f "${base#file://}")"
    git config --file "$tree/etc/gitconfig" safe.directory '*'
  fi
done

within() { chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
export DEBIAN_FRONTEND=noninteractive
within DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get -y -qq full-upgrade' \
  > /dev/null

# The user, and the project as it is here

within useradd --create-home --shell /bin/bash "$user"
echo "$user ALL=(ALL) NOPASSWD: ALL" > "$tree/etc/sudoers.d/$user"
mkdir "$home/jotd"
git -c safe.directory='*' ls-files --cached --others --exclude-standard -z |
  tar --create --null --files-from=- --ignore-failed-read | tar --extract -C "$home/jotd"
within chown -R "$user:" "/home/$user"

as_user() {
  within HOME="/home/$user" USER="$user" PATH="$tools:/usr/local/bin:/usr/bin:/bin" \
    setpriv --reuid="$user" --regid="$user" --init-groups \
    bash -c 'ulimit -Sn 1024; cd ~/jotd; '"$1" < /dev/null
}

echo "== make run"
as_user '
  set -m
  make run > ../shown 2>&1 &
  until grep -q "^[0-9TZ:-]* ready: 3 identities" ../shown; do
    kill -0 $! 2>/dev/null || { cat ../shown; exit 1; }
    sleep 0.2
  done
  eval "$(sed -n "s/^ *cat \([^ ]*viewer.jwt\)$/viewer=\1/p" ../shown)"
  grep -Eq "^eyJ[^.]+\.[^.]+\.[^.]+$" "$viewer" || { cat ../shown; exit 1; }
  kill -INT -$!
  wait $! || true
  [ ! -e "$viewer" ] || { echo "the demonstration left $viewer"; exit 1; }'
echo "== make test"
as_user "make --no-print-directory test"
