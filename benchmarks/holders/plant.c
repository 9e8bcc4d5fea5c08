// SPDX-License-Identifier: GPL-2.0-or-later
/* plant dentries|pipes|sockets NUMBER KEEP: make many of them, then give back all but every KEEPth, and stay.
 * dentries: names of one file on the ramfs in /plant. pipes: with 16 pages each. sockets: pairs with 128 KiB on their way. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char data[1 << 16];

static void dentry(long n, int make)
{
	char name[64];
	snprintf(name, sizeof name, "/plant/%08ld", n);
	if (make ? link("/plant/file", name) : unlink(name))
		perror(name);
}
int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	char what = argv[1][0];
	long number = atol(argv[2]), keep = atol(argv[3]);
	struct rlimit most = { 1 << 20, 1 << 20 };
	int (*ends)[2] = calloc(number, sizeof *ends);
	setrlimit(RLIMIT_NOFILE, &most);
	if (what == 'd')
		close(open("/plant/file", O_CREAT | O_WRONLY, 0600));
	for (long n = 0; n < number; n++) {
		if (what == 'd')
			dentry(n, 1);
		else if (what == 'p' ? pipe2(ends[n], O_NONBLOCK) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends[n])) {
			perror(argv[1]);
			number = n;
			break;
		} else
			for (int i = 0; i < 2; i++)
				if (write(ends[n][1], data, what == 'p' ? 1 << 15 : sizeof data) < 0)
					break;
	}
	for (long n = 0; n < number; n++) {
		if (n % keep == 0)
			continue;
		if (what == 'd')
			dentry(n, 0);
		else
			close(ends[n][0]), close(ends[n][1]);
	}
	printf("planted %ld of %s, kept every %ldth\n", number, argv[1], keep);
	fflush(stdout);
	for (;;)
		pause();
}
