// SPDX-License-Identifier: GPL-2.0-or-later
/* The first process of a guest: fills memory with movable pages, punches holes, plants pipes, and prints what the kernel says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILL_UNTIL = 8000, PIPES_UNTIL = 7500, HOLE_EVERY = 8 * 4096, MOST_PIPES = 900 };

static long free_kb(void)
{
	char text[4096];
	int file = open("/proc/meminfo", O_RDONLY);
	ssize_t n = read(file, text, sizeof text - 1);
	char *at;

	close(file);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "MemFree:");
	return at ? atol(at + 8) : 0;
}

static void shell(const char *command)
{
	fflush(stdout);
	if (!fork()) {
		execl("/bin/busybox", "sh", "-c", command, (char *)0);
		_exit(127);
	}
	wait(0);
}

/* page_owner gives a record a read() and fails where the buffer is too small for it: cat's is large, what is left of gzip's may not be. */
static void show(const char *name, const char *path)
{
	char command[300];

	snprintf(command, sizeof command, "echo === %s; cat %s | gzip -9 | base64; echo === end", name, path);
	shell(command);
}

static void plant(void)
{
	char page[4096];
	int made, fd[2];

	prctl(PR_SET_NAME, "pipeholder");
	memset(page, 7, sizeof page);
	for (made = 0; made < MOST_PIPES && free_kb() > PIPES_UNTIL; made++) {
		if (pipe2(fd, O_NONBLOCK))
			break;
		while (write(fd[1], page, sizeof page) > 0)
			;
	}
	printf("=== pipes\n%d\n=== end\n", made);
	fflush(stdout);
	pause();
}

int main(void)
{
	static char mib[1 << 20];
	struct rlimit most = { 1 << 20, 1 << 20 };
	size_t size = 0;
	int file;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/t", 0755);
	mount("proc", "/proc", "proc", 0, 0);
	mount("sysfs", "/sys", "sysfs", 0, 0);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, 0);
	mount("tmpfs", "/t", "tmpfs", 0, "size=100%");
	setrlimit(RLIMIT_NOFILE, &most);
	memset(mib, 1, sizeof mib);
	file = open("/t/file", O_RDWR | O_CREAT, 0600);
	while (free_kb() > FILL_UNTIL && write(file, mib, sizeof mib) == sizeof mib)
		size += sizeof mib;
	for (size_t at = 0; at < size; at += HOLE_EVERY)
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 4096);
	if (!fork())
		plant();
	sleep(4);
	show("pagetypeinfo-before", "/proc/pagetypeinfo");
	show("page_owner", "/sys/kernel/debug/page_owner");
	show("pagetypeinfo-after", "/proc/pagetypeinfo");
	show("show_stacks", "/sys/kernel/debug/page_owner_stacks/show_stacks");
	show("allocinfo", "/proc/allocinfo");
	reboot(RB_AUTOBOOT);
	return 0;
}
