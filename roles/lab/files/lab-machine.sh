#!/usr/bin/env bash
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A lab host that boots: its root file system under a layer of its own, its own
# systemd, sshd and dockerd. Called by lab.sh in a mount namespace of its own.
set -euo pipefail

mkdir -p "$LAB_HOST_DIR"/{upper,work,root,docker,containerd}
mount -t overlay -o "lowerdir=$LAB_ROOT,upperdir=$LAB_HOST_DIR/upper,workdir=$LAB_HOST_DIR/work" overlay "$LAB_HOST_DIR/root"
install -m 600 -o 1000 -g 1000 "$LAB_KEY" "$LAB_HOST_DIR/root/home/deploy/.ssh/authorized_keys"
echo "$LAB_HOST" >"$LAB_HOST_DIR/root/etc/hostname"
grep -qw "$LAB_HOST" "$LAB_HOST_DIR/root/etc/hosts" 2>/dev/null || echo "127.0.1.1 $LAB_HOST" >>"$LAB_HOST_DIR/root/etc/hosts"

# A control group of its own, so that what is below it can be found and removed.
groups=/sys/fs/cgroup/unified
[ -d "$groups" ] || groups=/sys/fs/cgroup
mkdir -p "$groups/$LAB_CGROUP"
echo $$ >"$groups/$LAB_CGROUP/cgroup.procs"

# systemd from 256 boots on the unified hierarchy only, runc needs it, and dockerd
# sets ip_forward; overlay2 does not work on an overlay.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes
exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$LAB_HOST_DIR/root" --machine="$LAB_HOST" \
  --network-namespace-path="/run/netns/$LAB_CGROUP" --capability=all --system-call-filter='add_key keyctl bpf' \
  --resolv-conf=off --timezone=off --console=pipe \
  --bind="$LAB_HOST_DIR/docker:/var/lib/docker" --bind="$LAB_HOST_DIR/containerd:/var/lib/containerd"
