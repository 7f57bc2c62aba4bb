#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Process 1 of a lab host: gives it its own file systems, then only reaps.
# Called by lab.sh inside the new namespaces; nothing here is seen outside.
set -euo pipefail

hostname "$LAB_HOST"

# The machine's own root file system, or another one under a layer of its own.
root=
if [ -n "${LAB_ROOT:-}" ]; then
  root=$LAB_HOST_DIR/root
  mkdir -p "$root" "$LAB_HOST_DIR/upper" "$LAB_HOST_DIR/work"
  mount -t overlay -o "lowerdir=$LAB_ROOT,upperdir=$LAB_HOST_DIR/upper,workdir=$LAB_HOST_DIR/work" overlay "$root"
  mount --rbind /dev "$root/dev"
fi
mount -t proc proc "$root/proc"

# A sysfs mounted here shows this namespace's devices, but it hides the control
# groups, without which dockerd ends with "Devices cgroup isn't mounted".
keep=$LAB_HOST_DIR/cgroup
mkdir -p "$keep"
mount --rbind /sys/fs/cgroup "$keep"
mount -t sysfs sysfs "$root/sys"
mount --rbind "$keep" "$root/sys/fs/cgroup"
umount -l "$keep"
rmdir "$keep"

mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/lock"
if [ -z "$root" ]; then
  mkdir -p /run/etc /run/etc-work
  mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc-work overlay /etc
fi
echo "$LAB_HOST" >"$root/etc/hostname"
if [ "$LAB_DOCKER" = yes ]; then
  mkdir -p "$LAB_HOST_DIR/docker" "$LAB_HOST_DIR/etc-docker"
  mkdir -p "$root/var/lib/docker" "$root/etc/docker" "$root/etc/init.d"
  mount --bind "$LAB_HOST_DIR/etc-docker" "$root/etc/docker"
  mount --bind "$LAB_HOST_DIR/docker" "$root/var/lib/docker"
  # The distribution's script raises limits, which a process without
  # CAP_SYS_RESOURCE may not.
  rm -f "$root/etc/init.d/docker" "$root/etc/default/docker"
  sed "s|@CGROUP@|$LAB_CGROUP|" "$LAB_FILES/docker.init" >"$root/etc/init.d/docker"
  chmod 755 "$root/etc/init.d/docker"
else
  # Nor shall anybody find the machine's.
  for program in "$root"/usr/{local/,}{sbin,bin}/dockerd; do
    [ ! -e "$program" ] || mount --bind /dev/null "$program"
  done
  rm -f "$root/etc/init.d/docker"
fi
if [ -n "$root" ]; then
  mkdir -p "$root/run/machine"
  cd "$root"
  pivot_root . run/machine
  umount -l /run/machine
fi
exec tini -- sleep infinity
