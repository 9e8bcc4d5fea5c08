// SPDX-License-Identifier: GPL-2.0-or-later
/* PID 1 of a guest: prints free memory and the kernel's own fragmentation index in five states, and lets
 * allocations fail. What lies between "=== STATE" and "=== END" is one state; the kernel's log follows by itself. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
static char before[65536], index_text[65536], unusable[65536], after[65536], other[1 << 20];

static long slurp(const char *path, char *into, long size)
{
	int fd = open(path, O_RDONLY);
	long got = 0, n;

	if (fd < 0)
		return -1;
	while (got < size - 1 && (n = read(fd, into + got, size - 1 - got)) > 0)
		got += n;
	into[got] = 0;
	close(fd);
	return got;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("cannot write %s\n", path);
	if (fd >= 0)
		close(fd);
}

static void out(const char *name, const char *text)
{
	printf("--- %s\n%s", name, text);
}

/* The indices are of the same moment as buddyinfo when buddyinfo reads the same before and after them. */
static void state(const char *name)
{
	int tries;

	for (tries = 0; tries < 2000; tries++) {
		slurp("/proc/buddyinfo", before, sizeof before);
		slurp("/sys/kernel/debug/extfrag/extfrag_index", index_text, sizeof index_text);
		slurp("/sys/kernel/debug/extfrag/unusable_index", unusable, sizeof unusable);
		slurp("/proc/buddyinfo", after, sizeof after);
		if (!strcmp(before, after))
			break;
	}
	printf("=== STATE %s after %d tries%s\n", name, tries, strcmp(before, after) ? " (torn)" : "");
	out("buddyinfo", before);
	out("extfrag_index", index_text);
	out("unusable_index", unusable);
	slurp("/proc/pagetypeinfo", other, sizeof other);
	out("pagetypeinfo", other);
	slurp("/proc/zoneinfo", other, sizeof other);
	out("zoneinfo", other);
	printf("=== END\n");
	fflush(stdout);
}

static long mem_free(void)
{
	struct sysinfo info;

	sysinfo(&info);
	return info.freeram * info.mem_unit;
}

/* The console's screen buffer is one kzalloc: lines * columns * 2 bytes (drivers/tty/vt/vt.c:vc_do_resize). */
static void ask_order(const char *why, int lines, int columns)
{
	struct vt_sizes sizes = { .v_rows = lines, .v_cols = columns };
	int fd = open("/dev/tty1", O_RDWR);

	printf("=== ASK %s %d bytes\n", why, lines * columns * 2);
	fflush(stdout);
	if (fd < 0 || ioctl(fd, VT_RESIZE, &sizes) < 0)
		perror("VT_RESIZE");
	if (fd >= 0)
		close(fd);
}

static char *take(long bytes)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long i;

	if (at == MAP_FAILED)
		return NULL;
	for (i = 0; i < bytes; i += PAGE)
		at[i] = 1;
	return at;
}

int main(void)
{
	long bytes, i;
	char *at, tty[16];
	pid_t child;

	mount("proc", "/proc", "proc", 0, "");
	mount("sysfs", "/sys", "sysfs", 0, "");
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, "");
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
	slurp("/proc/version", other, sizeof other);
	out("version", other);
	put("/sys/kernel/mm/transparent_hugepage/enabled", "never");
	put("/proc/sys/vm/compact_unevictable_allowed", "0");
	put("/proc/sys/vm/overcommit_memory", "1");
	put("/proc/sys/vm/panic_on_oom", "0");
	/* VT_RESIZE gives every open console a buffer of the size. */
	for (i = 2; i < 8; i++) {
		snprintf(tty, sizeof tty, "/dev/tty%ld", i);
		open(tty, O_RDWR);
	}
	sleep(3);
	state("fresh");
	put("/proc/sys/vm/lowmem_reserve_ratio", "0 0 0 0 0");
	/* Every second page of almost all of memory goes back; the others are locked and compaction leaves them. */
	bytes = (mem_free() - (7L << 20)) & ~(PAGE - 1);
	at = take(bytes);
	for (i = 0; i < bytes; i += 2 * PAGE)
		madvise(at + i, PAGE, MADV_DONTNEED);
	if (mlock2(at, bytes, MLOCK_ONFAULT))
		perror("mlock2");
	sleep(2);
	state("fragmented");
	for (i = 32; i <= 1024; i *= 2)
		ask_order("fragmented", i, 1024);
	sleep(1);
	state("after the failure");
	while (mem_free() > (3L << 20))
		if (!take(64 * PAGE))
			break;
	sleep(2);
	state("nearly full");
	for (i = 64; i <= 1024; i *= 2)
		ask_order("nearly full", i, 1024);
	/* Few chunks are left when a child takes all but some pages: the index is then near 0, or below it. */
	put("/proc/sys/vm/min_free_kbytes", "128");
	child = fork();
	if (!child) {
		put("/proc/self/oom_score_adj", "1000");
		while (mem_free() > (600L << 10))
			take(PAGE);
		for (;;)
			pause();
	}
	sleep(4);
	state("at the edge");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	child = fork();
	if (!child) {
		put("/proc/self/oom_score_adj", "1000");
		for (;;)
			take(16 * PAGE);
	}
	waitpid(child, NULL, 0);
	sleep(2);
	printf("=== DONE\n");
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
