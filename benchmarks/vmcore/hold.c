// SPDX-License-Identifier: GPL-2.0-or-later
/* hold PREFIX: read what /proc says of free memory, keep every CPU until a byte comes on stdin, and read it again: in between
 * the machine may be dumped, and where both readings agree the dump agrees with them. They go to PREFIX-before-* and PREFIX-after-*. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[] = { "/proc/buddyinfo", "/proc/pagetypeinfo", "/proc/zoneinfo" };
static char texts[2][3][1 << 16];
static int files[3];
static char flags[1 << 23]; /* of 4 GiB of memory */
static ssize_t flag_bytes;

static void take(int when)
{
	for (int n = 0; n < 3; n++) {
		size_t have = 0;
		ssize_t got;
		lseek(files[n], 0, SEEK_SET);
		while (have < sizeof texts[0][0] - 1 && (got = read(files[n], texts[when][n] + have, sizeof texts[0][0] - 1 - have)) > 0)
			have += got;
		texts[when][n][have] = 0;
	}
}
static void keep_texts(const char *prefix, int when)
{
	char name[256];
	for (int n = 0; n < 3; n++) {
		snprintf(name, sizeof name, "%s-%s-%s", prefix, when ? "after" : "before", strrchr(names[n], '/') + 1);
		FILE *file = fopen(name, "w");
		if (file) {
			fputs(texts[when][n], file);
			fclose(file);
		}
	}
}
static void keep(int cpu)
{
	cpu_set_t set;
	struct sched_param first = { .sched_priority = 50 };
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
	sched_setscheduler(0, SCHED_FIFO, &first);
}
int main(int argc, char **argv)
{
	char byte;
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	pid_t others[64];
	for (int n = 0; n < 3; n++)
		files[n] = open(names[n], O_RDONLY);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	fcntl(0, F_SETFL, O_NONBLOCK);
	take(0), take(1); /* warm */
	int kpageflags = open("/proc/kpageflags", O_RDONLY);
	for (int cpu = 1; cpu < cpus && cpu < 64; cpu++)
		if ((others[cpu] = fork()) == 0) {
			keep(cpu);
			for (;;)
				;
		}
	sleep(1);
	keep(0);
	printf("== HOLDING\n");
	fflush(stdout);
	take(0);
	for (ssize_t got; flag_bytes < (ssize_t)sizeof flags && (got = read(kpageflags, flags + flag_bytes, 1 << 16)) > 0;)
		flag_bytes += got;
	while (read(0, &byte, 1) != 1)
		;
	take(1);
	for (int cpu = 1; cpu < cpus && cpu < 64; cpu++)
		kill(others[cpu], SIGKILL);
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	fcntl(0, F_SETFL, 0);
	for (int when = 0; when < 2 && argc > 1; when++)
		keep_texts(argv[1], when);
	if (argc > 1) {
		char name[256];
		snprintf(name, sizeof name, "%s-kpageflags", argv[1]);
		int out = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		if (write(out, flags, flag_bytes) != flag_bytes)
			printf("kpageflags not written\n");
		close(out);
	}
	if (memcmp(texts[0][0], texts[1][0], sizeof texts[0][0]))
		printf("== BUDDYINFO CHANGED\n");
	printf("== RELEASED\n");
	return 0;
}
