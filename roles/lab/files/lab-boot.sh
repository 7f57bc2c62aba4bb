#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Process 1 of a lab host: gives it its own file systems, then only reaps.
# Called by lab.sh inside the new namespaces; nothing here is seen outside.
set -euo pipefail

hostname "$LAB_HOST"
mount -t proc proc /proc

# A sysfs mounted here shows this namespace's devices, but it hides the control
# groups, without which dockerd ends with "Devices cgroup isn't mounted".
keep=$LAB_HOST_DIR/cgroup
mkdir -p "$keep"
mount --rbind /sys/fs/cgroup "$keep"
mount -t sysfs sysfs /sys
mount --rbind "$keep" /sys/fs/cgroup
umount -l "$keep"
rmdir "$keep"

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/etc /run/etc-work /var/lib/docker
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc-work overlay /etc
mkdir -p /etc/docker /etc/init.d
mount --bind "$LAB_HOST_DIR/etc-docker" /etc/docker
mount --bind "$LAB_HOST_DIR/docker" /var/lib/docker
echo "$LAB_HOST" >/etc/hostname
# The distribution's script raises limits, which a process without
# CAP_SYS_RESOURCE may not.
sed "s|@CGROUP@|$LAB_CGROUP|" "$LAB_FILES/docker.init" >/run/docker.init
chmod 755 /run/docker.init
rm -f /etc/init.d/docker
cp /run/docker.init /etc/init.d/docker
rm -f /etc/default/docker
exec tini -- sleep infinity
