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
  set vteps_88 {
    type ipv4_addr
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr != 10.88.0.0/16 ip daddr 10.88.0.0/16 oifname "vxlan.88" masquerade
    ip saddr 10.88.102.0/24 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 4789 @th,96,24 0x58 ip saddr != @vteps_88 counter drop
  }
}
add element inet agentless_overlay vteps_88 {
192.168.65.4,
192.168.65.5,
}
END
make vxlan.88 agentless.overlay:main ip link add vxlan.88 address a2:df:01:1b:83:c0 type vxlan id 88 dstport 4789 local 192.168.65.3 nolearning
try ip link set dev vxlan.88 mtu 1450
ipv6 vxlan.88 accept_ra 0
ipv6 vxlan.88 autoconf 0
try ip link set dev vxlan.88 up
try ip -force -batch - <<'END'
address replace 10.88.102.0/32 dev vxlan.88
END
try ip -force -batch - <<'END'
neigh replace 10.88.57.0 lladdr 16:3d:e9:c1:cc:c2 dev vxlan.88 nud permanent
neigh replace 10.88.78.0 lladdr aa:8a:f4:d5:8a:ce dev vxlan.88 nud permanent
END
try bridge -force -batch - <<'END'
fdb replace 16:3d:e9:c1:cc:c2 dev vxlan.88 dst 192.168.65.4 self permanent
fdb replace aa:8a:f4:d5:8a:ce dev vxlan.88 dst 192.168.65.5 self permanent
END
try ip -force -batch - <<'END'
route replace 10.88.57.0/24 via 10.88.57.0 dev vxlan.88 proto 157 onlink
route replace 10.88.78.0/24 via 10.88.78.0 dev vxlan.88 proto 157 onlink
END
try mkdir -p /run/flannel
printf %s '# Made by agentless.overlay: the next run of overlay.yml replaces it.
FLANNEL_NETWORK=10.88.0.0/16
FLANNEL_SUBNET=10.88.102.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
' >/run/flannel/subnet.env || failed=1
try chmod 0644 /run/flannel/subnet.env
exit "$failed"
