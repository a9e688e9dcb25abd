#!/bin/bash
# SPDX-License-Identifier: MIT
# The first process of a throw-away machine: prepares its root, and becomes systemd. systemd.py starts it in mount, pid,
# uts, ipc and net name spaces of their own, and watches it.
#
#	systemd-boot.sh WORK CGROUP
#
# WORK    an empty directory; WORK/tree is copied over the new root
# CGROUP  a fresh directory of a cgroup2 mount, which becomes the machine's whole hierarchy
#
# The new root is the machine's own, under a layer in memory that takes every change. The kernel's settings below
# /proc/sys are the one thing that no name space separates: they are mounted read-only.
set -eu
work=$1
cgroup=$2

if [[ ${3:-} != again ]]; then
	echo 0 >"$cgroup/cgroup.procs"
	exec unshare --cgroup "$BASH" "$0" "$work" "$cgroup" again
fi

root=$work/root
mount --make-rprivate /
mkdir "$root" "$work/memory"
mount -t tmpfs -o mode=0755 memory "$work/memory"
mkdir "$work/memory/changes" "$work/memory/scratch"
mount -t overlay machine "$root" -o "lowerdir=/,upperdir=$work/memory/changes,workdir=$work/memory/scratch"

cp -a "$work/tree/." "$root/"
for directory in run tmp dev; do
	mount -t tmpfs -o mode=0755 "$directory" "$root/$directory"
done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
while read -r name minor; do
	mknod -m 0666 "$root/dev/$name" c 1 "$minor"
done <<'END'
null 3
zero 5
full 7
random 8
urandom 9
END

# Nothing of the machine's own services; what would touch its devices, clock or settings is masked.
units=$root/etc/systemd/system
find "$units" -mindepth 1 -maxdepth 1 ! -name 'brood*' -exec rm -rf {} +
for unit in systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-remount-fs systemd-pstore \
	systemd-random-seed systemd-timesyncd systemd-logind systemd-networkd systemd-resolved systemd-boot-system-token; do
	ln -s /dev/null "$units/$unit.service"
done
for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount systemd-udevd-control.socket systemd-udevd-kernel.socket timers.target; do
	ln -s /dev/null "$units/$unit"
done
cat >"$units/trial.target" <<'END'
[Unit]
Requires=basic.target
After=basic.target
AllowIsolate=yes
END
printf '' >"$root/etc/fstab"
printf '%032d\n' 7 >"$root/etc/machine-id"
ip link set lo up

mkdir "$root/before"
cd "$root"
pivot_root . before
umount -l /before
exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=trial.target --show-status=no --log-target=journal
