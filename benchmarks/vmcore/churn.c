// SPDX-License-Identifier: GPL-2.0-or-later
/* churn ROUNDS SEED [PAGES [PIPES [stay]]]: anonymous memory mapped, holed and unmapped, tmpfs files, pipes, forks; requests depend on SEED alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAPS 48
#define MOST_PIPES 500
static uint64_t state;
static uint32_t draw(uint32_t below)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return (uint32_t)(state >> 32) % below;
}
static struct { char *at; size_t pages; } maps[MAPS];
static int pipes[MOST_PIPES][2];
static char page[4096];

static void remap(unsigned n, unsigned most)
{
	if (maps[n].at)
		munmap(maps[n].at, maps[n].pages * 4096);
	maps[n].pages = 64 + draw(most);
	maps[n].at = mmap(0, maps[n].pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (maps[n].at == MAP_FAILED) {
		maps[n].at = 0;
		return;
	}
	if (draw(2))
		madvise(maps[n].at, maps[n].pages * 4096, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < maps[n].pages; i++)
		maps[n].at[i * 4096] = 1;
}
static void hole(unsigned n)
{
	if (!maps[n].at)
		return;
	for (unsigned i = 0; i < 64; i++)
		madvise(maps[n].at + (size_t)draw(maps[n].pages) * 4096, 4096, MADV_DONTNEED);
}
static void file(unsigned n)
{
	char name[32];
	snprintf(name, sizeof name, "/tmp/f%u", n);
	if (draw(3) == 0) {
		unlink(name);
		return;
	}
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	for (unsigned i = draw(32); fd >= 0 && i; i--)
		if (write(fd, page, sizeof page) < 0)
			break;
	close(fd);
}
static void fill(unsigned n)
{
	if (!pipes[n][0] && pipe2(pipes[n], O_NONBLOCK))
		return;
	if (draw(2))
		for (unsigned i = 0; i < 16 && write(pipes[n][1], page, sizeof page) > 0; i++)
			;
	else
		for (unsigned i = 0; i < 16 && read(pipes[n][0], page, sizeof page) > 0; i++)
			;
}
static void child(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		unsigned n = draw(MAPS);
		for (size_t i = 0; maps[n].at && i < maps[n].pages && i < 256; i++)
			maps[n].at[i * 4096] = 2;
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, 0, 0);
}
int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 1000;
	unsigned most = argc > 3 ? (unsigned)atol(argv[3]) : 4096;
	unsigned pipes_used = argc > 4 && atol(argv[4]) > 0 ? (unsigned)atol(argv[4]) : 64;
	state = 0x9E3779B97F4A7C15ull * (uint64_t)(argc > 2 ? atol(argv[2]) : 1) | 1;
	for (long i = 0; i < rounds; i++) {
		unsigned what = draw(100);
		if (what < 15)
			remap(draw(MAPS), most);
		else if (what < 40)
			hole(draw(MAPS));
		else if (what < 75)
			file(draw(6000));
		else if (what < 97)
			fill(draw(pipes_used < MOST_PIPES ? pipes_used : MOST_PIPES));
		else
			child();
	}
	printf("churn done\n");
	fflush(stdout);
	if (argc > 5) /* keep everything in use */
		for (;;)
			pause();
	return 0;
}
