#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A root file system of a Debian release with its own Docker, Python and pyroute2,
# for lab hosts that are not like this machine: tests/rootfs.sh SUITE; prints where
# it is. Built once and kept in .cache; takes a minute or two.
set -euo pipefail

suite=$1
cache=$PWD/.cache/rootfs
target=$cache/$suite
mkdir -p "$cache"
exec 9>"$cache/$suite.lock"
flock 9
if [ ! -e "$target/.ready" ]; then
  # A suite that this machine's debootstrap has never heard of is made like unstable.
  scripts=$cache/debootstrap
  [ -d "$scripts" ] || cp -r /usr/share/debootstrap "$scripts"
  [ -e "$scripts/scripts/$suite" ] || ln -s sid "$scripts/scripts/$suite"
  rm -rf "$target"
  packages=docker.io,docker-cli,iptables,nftables,iproute2,iputils-ping,python3,python3-pyroute2,tini,procps,tcpdump
  DEBOOTSTRAP_DIR=$scripts debootstrap --variant=minbase --include=$packages "$suite" "$target" >"$cache/$suite.log" 2>&1 ||
    { tail -n 20 "$cache/$suite.log" >&2; exit 1; }
  rm -rf "$target"/var/cache/apt/archives/*.deb "$target"/var/lib/apt/lists/*
  touch "$target/.ready"
fi
echo "$target"
