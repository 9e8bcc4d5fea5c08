#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# make_initrd.sh KERNEL_TREE BUSYBOX OUT: an initramfs of busybox, churn and hold, and the modules that the guest needs to share a
# directory with the host (9p) and to tell qemu where its VMCOREINFO is. KERNEL_TREE is where linux-image-*.deb was unpacked.
set -e
here=$(cd "$(dirname "$0")" && pwd)
tree=$1 busybox=$(realpath "$2") out=$3
root=$(mktemp -d)
trap 'rm -rf "$root" "$root.list" "$root.cpio"' EXIT
mkdir "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/host" "$root/mod"
cp "$busybox" "$root/bin/busybox"
for program in churn hold; do
	gcc -O2 -static -o "$root/bin/$program" "$here/$program.c"
done
modules="virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p qemu_fw_cfg"
for module in $modules; do
	find "$tree/lib/modules" -name "$module.ko" -exec cp {} "$root/mod/" \;
done
cat > "$root/init" <<EOF
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tmpfs -o size=90% none /tmp
mount -t tracefs none /sys/kernel/tracing
for pass in 1 2 3; do for module in $modules; do insmod /mod/\$module.ko 2>/dev/null; done; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 host /host
echo -1 > /proc/sys/kernel/sched_rt_runtime_us
sh /host/job
echo "== POWEROFF"
poweroff -f
EOF
chmod +x "$root/init"
(cd "$root" && find . > "$root.list" && "$busybox" cpio -o -H newc < "$root.list") > "$root.cpio"
gzip -1 < "$root.cpio" > "$out"
