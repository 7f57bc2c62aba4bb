#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A root file system of a Debian release with its own systemd, Docker, Python and
# pyroute2, for lab hosts that are not like this machine: tests/rootfs.sh SUITE;
# prints where it is. Built once and kept in .cache; takes a minute or two.
set -euo pipefail

suite=$1
cache=$PWD/.cache/rootfs
target=$cache/$suite
version=$(sha256sum <"${BASH_SOURCE[0]}")
# A line that names bullseye is about that alone, and of no account for the others.
[ "$suite" = bullseye ] || version=$(sed /bullseye/d "${BASH_SOURCE[0]}" | sha256sum)
mkdir -p "$cache"
exec 9>"$cache/$suite.lock"
flock 9
if [ "$(cat "$target/.ready" 2>/dev/null)" != "$version" ]; then
  packages=docker.io,iptables,nftables,iproute2,iputils-ping,python3,python3-apt,python3-pyroute2,tini,procps,tcpdump
  packages+=,init,systemd,systemd-sysv,dbus,openssh-server,sudo
  case $suite in
  bookworm) ;;
  bullseye) ;; # docker.io has the client
  # Other managers of the network, switched off until a test wants them.
  trixie) packages+=,docker-cli,firewalld,network-manager,libpam-systemd ;;
  forky) packages+=,docker-cli,firewalld,libpam-systemd ;;
  *) packages+=,docker-cli ;;
  esac
  # A suite that this machine's debootstrap has never heard of is made like unstable.
  scripts=$(mktemp -d "$cache/$suite.XXXXXX")
  trap 'rm -rf "$scripts"' EXIT
  cp -r /usr/share/debootstrap/. "$scripts"
  [ -e "$scripts/scripts/$suite" ] || ln -s sid "$scripts/scripts/$suite"
  rm -rf "$target"
  DEBOOTSTRAP_DIR=$scripts debootstrap --variant=minbase --include="$packages" "$suite" "$target" >"$cache/$suite.log" 2>&1 ||
    { tail -n 20 "$cache/$suite.log" >&2; exit 1; }

  # A repository on the disk, from which prepare.yml can install without a network.
  debs=$target/srv/packages
  mkdir -p "$debs"
  for deb in "$target"/var/cache/apt/archives/{python3-pyroute2,nftables,libnftables1,python3-nftables}_*.deb; do
    [ -e "$deb" ] || continue
    mv "$deb" "$debs"
    deb=$debs/${deb##*/}
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
  done >"$debs/Packages"
  rm -f "$target"/var/cache/apt/archives/*.deb "$target"/var/lib/apt/lists/*_* "$target"/etc/apt/sources.list.d/*
  echo 'deb [trusted=yes] file:/srv/packages ./' >"$target/etc/apt/sources.list"

  # Who logs in is not root, as on most people's machines.
  chroot "$target" useradd --create-home --shell /bin/bash deploy
  echo 'deploy ALL=(ALL) NOPASSWD: ALL' >"$target/etc/sudoers.d/deploy"
  install -d -m 700 -o 1000 -g 1000 "$target/home/deploy/.ssh"
  # The kernel is this machine's and has no modules for it; the network comes from outside.
  for unit in systemd-modules-load.service firewalld.service NetworkManager.service systemd-networkd.service \
    NetworkManager-wait-online.service systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer; do
    systemctl --root="$target" disable "$unit" 2>/dev/null || true
  done
  systemctl --root="$target" mask systemd-modules-load.service 2>/dev/null
  rm -f "$target/etc/machine-id" "$target/etc/hostname"
  : >"$target/etc/machine-id"
  echo "$version" >"$target/.ready"
fi
echo "$target"
