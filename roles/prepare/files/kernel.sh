#!/bin/sh
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Tries, in a network namespace that goes with this script, what the overlay asks
# of the kernel; says what is missing and what to do. Changes nothing of the host.
[ "${1:-}" = inside ] || exec unshare --net "$0" inside

failed=0
try() {
  remedy=$1
  shift
  said=$("$@" 2>&1) || { echo "$*: $said. $remedy" >&2; failed=1; }
}
modules="Install the kernel's further modules (Ubuntu: linux-modules-extra-$(uname -r), Fedora and Red Hat: kernel-modules-extra) \
or a kernel with vxlan"
rules="Install a kernel from 5.4 with nf_tables and its nat chains"

ip link set lo up
try "$modules" ip link add vx0 type vxlan id 1 local 127.0.0.1 dstport 4789 nolearning
try "$modules" ip address add 10.0.0.0/32 dev vx0
try "$modules" ip link set vx0 up
try "$modules" ip neigh replace 10.0.1.0 lladdr 02:00:00:00:00:01 dev vx0 nud permanent
try "$modules" bridge fdb replace 02:00:00:00:00:01 dev vx0 dst 127.0.0.2 self permanent
try "$modules" ip route replace 10.0.1.0/24 via 10.0.1.0 dev vx0 onlink proto 157
try "$rules" nft add table ip t
try "$rules" nft "add set ip t s { type ipv4_addr ; }"
try "$rules" nft "add chain ip t c { type nat hook postrouting priority 100 ; }"
try "$rules" nft "add rule ip t c ip saddr 10.0.0.0/24 masquerade"
try "$rules" nft "add chain ip t i { type filter hook input priority -10 ; }"
try "$rules" nft "add rule ip t i udp dport 4789 @th,96,24 1 ip saddr != @s counter drop"
try "Install iptables, which Docker needs as well" iptables -w -N DOCKER-USER
try "Install the kernel's match comment (xt_comment)" iptables -w -A DOCKER-USER -m comment --comment try -j ACCEPT
exit "$failed"
