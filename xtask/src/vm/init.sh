#!/bin/busybox sh
# PID 1 of a guest: makes the host's root, read-only by 9p, writable with a tmpfs on top, mounts what a Linux system
# has, and runs /command.sh there. The kernel's console is ttyS0; the command's output and the two lines that
# `cargo xtask vm` waits for go to ttyS1.
say() { busybox echo "drainwatch-vm: $*" >&3; }
end() { say "$@"; busybox poweroff -f; }
need() { "$@" || end "failed: $*"; }
export PATH=/bin
busybox mkdir -p /proc /sys /dev /lower /upper /root
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox stty -F /dev/ttyS1 raw
exec 3> /dev/ttyS1
for module in $(busybox cat /modules/order); do need busybox insmod "/modules/$module"; done
need busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288 host /lower
need busybox mount -t tmpfs tmpfs /upper
busybox mkdir /upper/data /upper/work
need busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
for directory in proc sys dev; do need busybox mount --move /$directory /root/$directory; done
busybox mkdir -p /root/dev/pts /root/dev/shm /root/lib/modules
busybox mount -t devpts devpts /root/dev/pts
busybox mount -t tmpfs tmpfs /root/dev/shm
busybox ln -sf /proc/self/fd /root/dev/fd
busybox ln -sf /proc/self/fd/0 /root/dev/stdin
busybox ln -sf /proc/self/fd/1 /root/dev/stdout
busybox ln -sf /proc/self/fd/2 /root/dev/stderr
busybox mount -t tmpfs tmpfs /root/run
. /settings.sh
# Not where the workspace lies under /tmp: it would be hidden.
[ -z "$PLAIN_TMP" ] && busybox mount -t tmpfs -o mode=1777 tmpfs /root/tmp
need busybox mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
for controller in cpu memory pids; do busybox echo +$controller > /root/sys/fs/cgroup/cgroup.subtree_control; done
busybox mount -t bpf bpf /root/sys/fs/bpf
busybox mount -t tracefs tracefs /root/sys/kernel/tracing
busybox ln -sfn "$MODULES" "/root/lib/modules/$(busybox uname -r)"
# The kernel asks for modules (veth, say) by a program of this first file system, not of the host's.
busybox printf '#!/bin/busybox sh\nexec busybox chroot /root /bin/busybox modprobe "$@"\n' > /modprobe
busybox chmod +x /modprobe
busybox echo /modprobe > /root/proc/sys/kernel/modprobe
busybox hostname "$GUEST_NAME"
need busybox ip link set lo up
busybox cp /command.sh /root/run/command.sh
say "ready $(busybox uname -r) $(busybox cut -d ' ' -f 1 /root/proc/uptime)"
# Through a pipe: the command sees no terminal, and its output stays apart from the kernel's.
{ busybox chroot /root /bin/bash /run/command.sh < /root/dev/null 2>&1 3>&-; busybox echo $? > /status; } | busybox cat >&3
end "exit $(busybox cat /status)"
