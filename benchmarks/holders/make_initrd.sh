#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# make_initrd.sh BUSYBOX OUT [MODULES_DIR [PLANT_PAGES.KO]]: an initramfs of busybox, plant and churn, which runs the job given on the kernel's
# command line (job=NAME) and sends what /proc says to the host by a virtio port. MODULES_DIR has qemu_fw_cfg.ko (or .ko.xz), which
# tells qemu where VMCOREINFO is; a kernel that has it built in needs none (''). plant_pages.ko is for job=pages; it is made by
# make -C KERNEL_TREE M=$PWD/benchmarks/holders modules
set -e
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(realpath "$1") out=$2 modules=$3
root=$(mktemp -d)
trap 'rm -rf "$root" "$root.list" "$root.cpio"' EXIT
mkdir "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/plant" "$root/mod"
mknod "$root/dev/console" c 5 1
cp "$busybox" "$root/bin/busybox"
gcc -O2 -static -o "$root/bin/plant" "$here/plant.c"
gcc -O2 -static -o "$root/bin/churn" "$here/../vmcore/churn.c"
if [ -n "$modules" ]; then
	find "$modules" -name 'qemu_fw_cfg.ko*' -exec cp {} "$root/mod/" \;
	for module in "$root"/mod/*.xz; do [ -e "$module" ] && xz -d "$module"; done
fi
if [ -n "$4" ]; then cp "$4" "$root/plant_pages.ko"; fi
cp "$here/init" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . > "$root.list" && "$busybox" cpio -o -H newc < "$root.list") > "$root.cpio"
gzip -1 < "$root.cpio" > "$out"
