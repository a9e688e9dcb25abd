/* SPDX-License-Identifier: MIT */
/* Modules that are broken, each in its way: see meson.build. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <brood/module.h>

#if defined(BROKEN_UNRESOLVED)
void nobody_defines_this(void);
#endif

#if defined(BROKEN_CONSTRUCTOR_CRASHES) || defined(BROKEN_CONSTRUCTOR_EXITS) || defined(BROKEN_CONSTRUCTOR_HANGS) ||   \
	defined(BROKEN_CONSTRUCTOR_PRINTS) || defined(BROKEN_CONSTRUCTOR_ABORTS) || defined(BROKEN_HOSTILE_ANSWER)
__attribute__((constructor, no_sanitize("undefined"))) static void construct(void)
{
#if defined(BROKEN_CONSTRUCTOR_CRASHES)
	*(volatile int *)(uintptr_t)(getpid() & 8) = 1;
#elif defined(BROKEN_CONSTRUCTOR_ABORTS)
	abort();
#elif defined(BROKEN_CONSTRUCTOR_EXITS)
#if defined(__SANITIZE_ADDRESS__)
	_exit(0); /* its search for leaks does not get along with a fork of a process with threads */
#else
	exit(0);
#endif
#elif defined(BROKEN_CONSTRUCTOR_HANGS)
	for (;;)
		pause();
#elif defined(BROKEN_CONSTRUCTOR_PRINTS)
	puts("printed by the constructor");
	fprintf(stderr, "printed by the constructor\n");
	fflush(NULL);
#else
	/* An answer of its own making, into whatever is open: the right header, and an option table from hell. */
	static const unsigned int words[] = { 0x62727001, 0, 4096, 0xffffffff, 0, 0x7fffffff };

	for (int fd = 3; fd < 64; fd++)
		if (write(fd, words, sizeof(words)) > 0)
			for (int i = 0; i < 4096; i++)
				(void)!write(fd, "\xff", 1);
	_exit(0);
#endif
}
#endif

#if defined(BROKEN_START_FAILS)
static int start(const struct brood_start *start, void **ret_state)
{
	(void)ret_state;
	start->log(4, "it will not start");
	return -ENXIO;
}
#elif defined(BROKEN_START_CRASHES)
static __attribute__((noinline, no_sanitize("undefined"))) int start(const struct brood_start *start, void **ret_state)
{
	*(volatile int *)(uintptr_t)(getpid() & 8) = 1;
	*ret_state = NULL;
	return 0;
}
#endif

#if !defined(BROKEN_NO_SERVE) && !defined(BROKEN_NO_SYMBOL)
static int serve(void *state, struct brood_stream *stream)
{
	(void)state;
	(void)stream;
#if defined(BROKEN_UNRESOLVED)
	nobody_defines_this();
#endif
	return 0;
}
#endif

#if defined(BROKEN_TWICE) || defined(BROKEN_BAD_KEY) || defined(BROKEN_BAD_TYPE) || defined(BROKEN_BAD_CHOICES)
static const struct brood_option options[] = {
#if defined(BROKEN_TWICE)
	{.name = "size",    .type = BROOD_OPTION_SIZE, .fallback = "1K", .help = "A size." },
	{ .name = "size", .type = BROOD_OPTION_SIZE, .fallback = "1K", .help = "A size." },
#elif defined(BROKEN_BAD_KEY)
	{ .name = "two words\n", .type = BROOD_OPTION_SIZE, .fallback = "1K", .help = "A size." },
#elif defined(BROKEN_BAD_TYPE)
	{ .name = "size", .type = (enum brood_option_type)77, .fallback = "1K", .help = "A size." },
#else
	{ .name = "size", .type = BROOD_OPTION_CHOICE, .fallback = "1K", .help = "A size." },
#endif
	{ .name = NULL               },
};
#endif

#if !defined(BROKEN_NO_SYMBOL)
const struct brood_module brood_module = {
#if defined(BROKEN_WRONG_ABI)
	.abi = 4711,
#else
	.abi = BROOD_MODULE_ABI,
#endif
#if defined(BROKEN_WRONG_SIZE)
	.size = 8,
#else
	.size = sizeof(struct brood_module),
#endif
#if !defined(BROKEN_NO_NAME)
	.name = "broken",
#endif
#if !defined(BROKEN_NO_SERVE)
	.serve = serve,
#endif
#if defined(BROKEN_START_FAILS) || defined(BROKEN_START_CRASHES)
	.start = start,
#endif
#if defined(BROKEN_TWICE) || defined(BROKEN_BAD_KEY) || defined(BROKEN_BAD_TYPE) || defined(BROKEN_BAD_CHOICES)
	.options = options,
#endif
};
#endif
