/* SPDX-License-Identifier: MIT */
/*
 * A module that does to its worker what its client says, a word a line: each kind of trouble is a function of its own,
 * whose name the log is to have. Another line is answered as it is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <brood/module.h>

#include "board/layout.h"

/* Stays a function of its own, and on the stack: not inlined, and no tail call. That it is wrong is meant. */
#define OWN     __attribute__((noinline, no_sanitize("undefined", "address")))
#define TROUBLE static OWN void

static volatile int zero;
static volatile long sink;
static void (*volatile nowhere)(void);

TROUBLE trouble_segv(void)
{
	*(volatile int *)(uintptr_t)(16 + zero) = 1;
	sink = 1;
}

TROUBLE trouble_fpe(void)
{
#if defined(__x86_64__) || defined(__i386__)
	sink = 7 / zero;
#else
	raise(SIGFPE);
#endif
	sink = 1;
}

TROUBLE trouble_ill(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("ud2");
#else
	raise(SIGILL);
#endif
	sink = 1;
}

TROUBLE trouble_abort(void)
{
	abort();
}

/* A page of a mapped file behind the file's end. */
TROUBLE trouble_bus(void)
{
	int fd = memfd_create("nothing", 0);
	volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	page[zero] = 1;
	sink = 1;
}

/* The compiler must neither see that it never ends nor make a loop of it. */
static OWN long trouble_overflow(long depth)
{
	volatile char much[4096];

	much[zero] = (char)depth;
	return zero == 0 ? trouble_overflow(depth + 1) + much[zero] : depth;
}

TROUBLE trouble_null_call(void)
{
	nowhere();
	sink = 1;
}

/* So that the stack cannot be walked. */
TROUBLE trouble_smash(void)
{
	void **frame = __builtin_frame_address(0);

	for (int i = 0; i < 8; i++)
		frame[i] = (void *)(uintptr_t)(64 + (unsigned int)zero);
	trouble_segv();
	sink = 1;
}

TROUBLE trouble_loop(void)
{
	while (zero == 0)
		;
}

TROUBLE trouble_leak(void)
{
	char *memory = malloc(8 << 20);

	memset(memory, 1, 8 << 20);
	sink = (long)(uintptr_t)memory;
}

TROUBLE trouble_print(void)
{
	puts("printed by the module");
	fflush(stdout);
}

/* An exported function, in a file that may be stripped. */
void trouble_exported(void);
OWN void trouble_exported(void)
{
	trouble_segv();
	sink = 1;
}

static void overflow(void)
{
	sink = trouble_overflow(0);
}

static void leave(void)
{
	_exit(7);
}

static void leave_quietly(void)
{
	exit(0);
}

/* Every worker of the daemon has the scoreboard's memory: this one lies of all who wait for clients, and goes. */
static void garble(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned long begin = 0, end = 0;
	struct board_header *header;
	struct board_pool *pools;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "brood-board") != NULL && sscanf(line, "%lx-%lx", &begin, &end) == 2)
			break;
	header = (struct board_header *)(uintptr_t)begin;
	pools = (struct board_pool *)(uintptr_t)(begin + header->header_size);
	for (uint32_t i = 0; i < header->pool_count; i++)
		pools[i].spare = INT32_MIN / 2;
	for (uint32_t i = 0; i < header->slots_used; i++)
		((struct board_slot *)(pools + header->pool_count))[i].counted = INT32_MAX / 2;
	_exit(7);
}

static const struct {
	const char *word;
	void (*make)(void);
} troubles[] = {
	{"segv",       trouble_segv     },
	{ "fpe",       trouble_fpe      },
	{ "ill",       trouble_ill      },
	{ "abort",     trouble_abort    },
	{ "bus",       trouble_bus      },
	{ "overflow",  overflow         },
	{ "null_call", trouble_null_call},
	{ "smash",     trouble_smash    },
	{ "exported",  trouble_exported },
	{ "loop",      trouble_loop     },
	{ "leak",      trouble_leak     },
	{ "print",     trouble_print    },
	{ "leave",     leave            },
	{ "exit",      leave_quietly    },
	{ "garble",    garble           },
};

static void make_trouble(const char *word, size_t size)
{
	for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++)
		if (strlen(troubles[i].word) == size && memcmp(troubles[i].word, word, size) == 0)
			troubles[i].make();
}

static int serve(void *state, struct brood_stream *stream)
{
	const char *line;
	int ret;

	(void)state;
	while ((ret = brood_await(stream)) > 0) {
		ssize_t size;

		brood_request_begin(stream);
		size = brood_read_until(stream, "\n", 1, 4096, &line);
		if (size <= 0)
			return (int)size;
		make_trouble(line, (size_t)size - 1);
		ret = brood_write_all(stream, line, (size_t)size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "trouble",
	.serve = serve,
};
