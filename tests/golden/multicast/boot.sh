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
  set vteps_2 {
    type ipv4_addr
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 4789 @th,96,24 0x2 ip saddr != @vteps_2 counter drop
  }
}
add element inet agentless_overlay vteps_2 {
192.168.65.4,
}
END
make br.2 agentless.overlay:all ip link add br.2 address fa:c3:49:63:0e:87 type bridge
try ip link set dev br.2 mtu 1450
ipv6 br.2 accept_ra 0
ipv6 br.2 autoconf 0
try ip link set dev br.2 up
make vxlan.2 agentless.overlay:all ip link add vxlan.2 address fa:c3:49:63:0e:87 type vxlan id 2 dstport 4789 local 192.168.65.3 group 239.1.1.1 dev eth0 learning
try ip link set dev vxlan.2 mtu 1450 master br.2
ipv6 vxlan.2 accept_ra 0
ipv6 vxlan.2 autoconf 0
try ip link set dev vxlan.2 up
try bridge link set dev vxlan.2 neigh_suppress off
try ip -force -batch - <<'END'
address replace 10.2.0.65/24 dev br.2
END
exit "$failed"
