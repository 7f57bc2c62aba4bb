#!/bin/sh
# Made by agentless.overlay: the next run of overlay.yml replaces it. Puts this host's part of the
# overlay back after a reboot; may run at any time, and leaves what is there already as it is.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
failed=0
try() { "$@" || failed=1; }
# A device of ours; one that was there without our mark is somebody else's, and is marked so.
make() {
  device=$1 alias=$2
  shift 2
  case "$(ip link show dev "$device" 2>/dev/null)" in
  "") try "$@" ;;
  *"alias agentless.overlay:"*" (adopted)"*) alias="$alias (adopted)" ;;
  *"alias agentless.overlay:"*) ;;
  *) alias="$alias (adopted)" ;;
  esac
  try ip link set dev "$device" alias "$alias"
}
# A setting of a device that has IPv6.
ipv6() { [ ! -e "/proc/sys/net/ipv6/conf/$1/$2" ] || echo "$3" >"/proc/sys/net/ipv6/conf/$1/$2" || failed=1; }
# Left to Docker, where it does that: its FORWARD policy is DROP only where forwarding was off before.
[ -d /run/systemd/system ] && systemctl --quiet is-enabled docker.service 2>/dev/null &&
  ! grep -Eqs '"ip-forward": *false' /etc/docker/daemon.json ||
  try sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
try nft -f - <<'END'
table inet agentless_overlay
delete table inet agentless_overlay
table inet agentless_overlay {
  set vteps_200 {
    type ipv4_addr
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 4789 @th,96,24 0xc8 ip saddr != @vteps_200 counter drop
  }
}
add element inet agentless_overlay vteps_200 {
192.168.65.4,
}
END
make br.200 agentless.overlay:stretched ip link add br.200 address 06:d8:42:ac:c8:3b type bridge
try ip link set dev br.200 mtu 1450
ipv6 br.200 accept_ra 0
ipv6 br.200 autoconf 0
try ip link set dev br.200 up
make vxlan.200 agentless.overlay:stretched ip link add vxlan.200 address 06:d8:42:ac:c8:3b type vxlan id 200 dstport 4789 local 192.168.65.3 learning
try ip link set dev vxlan.200 mtu 1450 master br.200
ipv6 vxlan.200 accept_ra 0
ipv6 vxlan.200 autoconf 0
try ip link set dev vxlan.200 up
try bridge link set dev vxlan.200 neigh_suppress on
try ip -force -batch - <<'END'
address replace 172.18.220.1/16 dev br.200
END
try bridge -force -batch - <<'END'
fdb append 00:00:00:00:00:00 dev vxlan.200 dst 192.168.65.4 self permanent
END
exit "$failed"
