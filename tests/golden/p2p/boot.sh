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
try nft -f - <<'END'
table inet agentless_overlay
delete table inet agentless_overlay
table inet agentless_overlay {
  set vteps_1 {
    type ipv4_addr
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 4789 @th,96,24 0x1 ip saddr != @vteps_1 counter drop
  }
}
add element inet agentless_overlay vteps_1 {
192.168.65.4,
}
END
make vxlan.1 agentless.overlay:wire ip link add vxlan.1 address 92:95:9e:7c:c8:a5 type vxlan id 1 dstport 4789 local 192.168.65.3 remote 192.168.65.4 learning
try ip link set dev vxlan.1 mtu 1450
ipv6 vxlan.1 accept_ra 0
ipv6 vxlan.1 autoconf 0
try ip link set dev vxlan.1 up
try ip -force -batch - <<'END'
address replace 10.1.0.221/24 dev vxlan.1
END
exit "$failed"
