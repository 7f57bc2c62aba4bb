#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Lab hosts on this machine. Each has its own network, mount, process and host
# name space, its own /run and /etc, and with Docker its own /var/lib/docker and
# dockerd; all are joined by one bridge that lives in a network namespace of its own, so that no device,
# address or rule of the machine itself is touched.
#
#   lab.sh up NAME=ADDRESS/LEN[@ROOT] ...
#                                    what is missing is made; prints what it made. ROOT is a root
#                                    file system (of debootstrap) to use in place of the machine's
#   lab.sh stop NAME                 shut a host down; up starts it again with its disk and nothing else of it
#   lab.sh down [NAME ...]           no names: the whole lab; prints what it removed
#   lab.sh list                      a line each: NAME PID
#   lab.sh exec NAME COMMAND ...     run a command on a lab host
#
# Environment: LAB_PREFIX (start of every name), LAB_DIR (state, on disk),
# LAB_DOCKER (yes, or no for hosts that have none), LAB_MTU (underlay, bytes), LAB_BOOT (yes: hosts
# with a ROOT boot their own systemd and sshd; who logs in is the user deploy, with the lab's key).
set -euo pipefail

prefix=${LAB_PREFIX:-aolab}
dir=${LAB_DIR:-/var/lib/agentless-overlay-lab}/$prefix
docker=${LAB_DOCKER:-yes}
boot=${LAB_BOOT:-no}
mtu=${LAB_MTU:-1500}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
underlay=$prefix-underlay

die() { echo "lab: $*" >&2; exit 1; }

netns_exists() { [ -e "/run/netns/$1" ]; }

# A process id read from a file may belong to somebody else by now: it counts
# only while that process is in the lab host's own network namespace.
host_pid() {
  local pid
  pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "$(stat -Lc %i "/proc/$pid/ns/net" 2>/dev/null)" = \
    "$(stat -Lc %i "/run/netns/$prefix-$1" 2>/dev/null)" ] || return 1
  echo "$pid"
}

make_underlay() {
  netns_exists "$underlay" && return 0
  ip netns add "$underlay"
  ip -n "$underlay" link set lo up
  ip -n "$underlay" link add br0 mtu "$mtu" type bridge
  ip -n "$underlay" link set br0 up
  echo "made underlay $underlay"
}

make_image() {
  [ -e "$dir/image.tar" ] && return 0
  local busybox root applet
  busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
  root=$(mktemp -d "$dir/image.XXXXXX")
  mkdir -p "$root/bin" "$root/tmp" "$root/etc"
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  tar -C "$root" -c . >"$dir/image.tar.new"
  mv "$dir/image.tar.new" "$dir/image.tar"
  rm -rf "$root"
}

make_key() {
  [ -e "$dir/id" ] || ssh-keygen -q -t ed25519 -N '' -C "$prefix" -f "$dir/id"
  # From here the operator reaches the machines.
  ip -n "$underlay" address replace "${1%.*}.1/${1#*/}" dev br0
}

# The process inside the name spaces whose parent is the given one, when it has become a program.
wait_for() {
  local outer=$1 program=$2 log=$3 child
  for _ in $(seq 3000); do
    child=$(tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null) || true
    [ -n "$child" ] && [ "$(cat "/proc/$child/comm" 2>/dev/null)" = "$program" ] && echo "$child" && return 0
    kill -0 "$outer" 2>/dev/null || break
    sleep 0.02
  done
  die "$name did not start: $(tail -n 20 "$log")"
}

make_host() {
  local name=$1 address=${2%%@*} ns=$prefix-$1 root= ip=${2%%/*}
  case $2 in *@*) root=${2#*@} ;; esac
  [ "${#name}" -le 13 ] || die "$name: a lab host's name has at most 13 characters (it names a network device)"
  if ! netns_exists "$ns"; then
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    # shellcheck disable=SC2046,SC2086 # a number each
    mac=$(printf '02:4c:%02x:%02x:%02x:%02x' ${ip//./ })
    ip link add eth0 address "$mac" mtu "$mtu" netns "$ns" type veth peer name "$name" mtu "$mtu" netns "$underlay"
    ip -n "$underlay" link set "$name" master br0 up
    ip -n "$ns" address add "$address" dev eth0
    ip -n "$ns" link set eth0 up
    echo "made namespace $ns $address"
  fi
  if ! host_pid "$name" >/dev/null; then
    mkdir -p "$dir/$name"
    # The lab's own process 1: when it ends, the kernel ends every process of the host.
    export LAB_HOST=$name LAB_ROOT=$root LAB_HOST_DIR=$dir/$name LAB_FILES=$here LAB_CGROUP=$ns LAB_DOCKER=$docker
    if [ -n "$root" ] && [ "$boot" = yes ]; then
      LAB_KEY=$dir/id.pub setsid unshare --mount --propagation private \
        bash "$here/lab-machine.sh" </dev/null >"$dir/$name/boot.log" 2>&1 &
      wait_for $! systemd "$dir/$name/boot.log" >"$dir/$name/pid"
    else
      setsid nsenter --net="/run/netns/$ns" \
        unshare --mount --uts --pid --fork --kill-child --propagation private \
        bash "$here/lab-boot.sh" </dev/null >"$dir/$name/boot.log" 2>&1 &
      wait_for $! tini "$dir/$name/boot.log" >"$dir/$name/pid"
    fi
    host_pid "$name" >/dev/null || die "$name did not start: $(cat "$dir/$name/boot.log")"
    echo "started $name"
  fi
}

inside() {
  local pid
  pid=$(host_pid "$1") || die "$1 is not running"
  shift
  nsenter --target "$pid" --mount --uts --net --pid -- "$@"
}

# By its process 1: what it mounts and makes is not there yet at once.
booted() { [ "$(cat "/proc/$(host_pid "$1")/comm")" = systemd ]; }

ready_host() {
  if booted "$1"; then
    for _ in $(seq 1200); do
      inside "$1" systemctl is-active --quiet docker ssh 2>/dev/null && break
      sleep 0.1
    done
    inside "$1" systemctl is-active --quiet docker ssh ||
      die "$1: Docker or sshd is not running: $(inside "$1" journalctl --no-pager --lines 20 --unit docker --unit ssh)"
  else
    inside "$1" /etc/init.d/docker start >/dev/null || die "$1: dockerd did not start; its log: $(inside "$1" tail -n 20 /run/docker.log)"
  fi
  inside "$1" docker image inspect overlay-lab >/dev/null 2>&1 ||
    inside "$1" docker import - overlay-lab >/dev/null <"$dir/image.tar"
}

stop_host() {
  local name=$1 ns=$prefix-$1 pid
  pid=$(host_pid "$name") || die "$name is not running"
  if booted "$name"; then
    inside "$name" systemctl poweroff --no-block >/dev/null 2>&1 || true
  else
    kill -TERM "$pid"
  fi
  for _ in $(seq 300); do
    [ -d "/proc/$pid" ] || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  # Like power: takes every device, address, route and rule with it.
  ip -n "$ns" link del eth0
  ip netns del "$ns"
  echo "stopped $name"
}

remove_host() {
  local name=$1 ns=$prefix-$1 pid made=
  if pid=$(host_pid "$name"); then
    kill -KILL "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      [ -d "/proc/$pid" ] || break
      sleep 0.1
    done
    made=yes
  fi
  if netns_exists "$ns"; then
    # One that did not start may hold processes too.
    for pid in $(ip netns pids "$ns"); do kill -KILL "$pid" 2>/dev/null || true; done
    ip -n "$ns" link del eth0 2>/dev/null || true
    ip netns del "$ns"
    made=yes
  fi
  find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/$ns/*" -exec rmdir {} + 2>/dev/null || true
  find /sys/fs/cgroup -mindepth 1 -depth -type d -name "$ns" -exec rmdir {} + 2>/dev/null || true
  if [ -d "$dir/$name" ]; then
    rm -rf "${dir:?}/$name"
    made=yes
  fi
  [ -z "$made" ] || echo "removed $name"
}

# Made hosts, from what really exists.
hosts() {
  { ip netns list | awk '{print $1}' | sed -n "s/^$prefix-//p" | grep -vx underlay || true
    [ ! -d "$dir" ] || find "$dir" -mindepth 1 -maxdepth 1 -type d -printf '%f\n'; } | sort -u
}

[ "$(id -u)" = 0 ] || die "needs root: network namespaces and dockerd cannot be made otherwise"
case ${1:-} in
up)
  shift
  mkdir -p "$dir"
  make_underlay
  [ "$docker" = no ] || make_image
  if [ "$boot" = yes ]; then
    first=${1#*=}
    make_key "${first%%@*}"
  fi
  for pair in "$@"; do make_host "${pair%%=*}" "${pair#*=}"; done
  if [ "$docker" = yes ]; then
    jobs=()
    for pair in "$@"; do ready_host "${pair%%=*}" & jobs+=($!); done
    for job in "${jobs[@]}"; do wait "$job" || exit 1; done
  fi
  ;;
down)
  shift
  if [ $# -gt 0 ]; then
    for name in "$@"; do remove_host "$name"; done
    exit 0
  fi
  for name in $(hosts); do remove_host "$name"; done
  if netns_exists "$underlay"; then
    # Connections of an operator's ssh, which has no machine at the other end any more.
    for pid in $(ip netns pids "$underlay"); do kill -KILL "$pid" 2>/dev/null || true; done
    ip -n "$underlay" link del br0 2>/dev/null || true
    ip netns del "$underlay"
    echo "removed underlay $underlay"
  fi
  rm -rf "$dir"
  rmdir "$(dirname "$dir")" 2>/dev/null || true
  ;;
stop)
  stop_host "${2:?which host}"
  ;;
list)
  for name in $(hosts); do echo "$name $(host_pid "$name" || echo -)"; done
  ;;
exec)
  shift
  [ $# -ge 2 ] || die "usage: lab.sh exec NAME COMMAND ..."
  inside "$@"
  ;;
*)
  die "usage: lab.sh up NAME=ADDRESS/LEN[@ROOT] ... | stop NAME | down [NAME ...] | list | exec NAME COMMAND ..."
  ;;
esac
