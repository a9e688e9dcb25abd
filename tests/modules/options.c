/* SPDX-License-Identifier: MIT */
/*
 * A module with an option of every type: it answers every line with the values of its options, one a line, and an empty
 * line. Its rule across options is that `number` is below `limit`; with fail_start its start() fails.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <brood/module.h>

enum {
	OPTION_SWITCH,
	OPTION_NUMBER,
	OPTION_LIMIT,
	OPTION_SIZE,
	OPTION_DURATION,
	OPTION_TEXT,
	OPTION_CHOICE,
	OPTION_LIST,
	OPTION_LOG,
	OPTION_DIRECTORY,
	OPTION_FILE,
	OPTION_FAIL_START,
};

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct brood_option options[] = {
	[OPTION_SWITCH] = {.name = "switch",            .type = BROOD_OPTION_BOOL, .fallback = "off", .help = "A switch." },
	[OPTION_NUMBER] = { .name = "number",
			   .type = BROOD_OPTION_NUMBER,
			   .fallback = "5",
			   .min = -10,
			   .max = 100,
			   .help = "A number." },
	[OPTION_LIMIT] = { .name = "limit",                          .type = BROOD_OPTION_NUMBER, .fallback = "1000", .help = "Above number." },
	[OPTION_SIZE] = { .name = "size",
			   .type = BROOD_OPTION_SIZE,
			   .fallback = "64K",
			   .min = 1,
			   .max = 1 << 30,
			   .help = "A size." },
	[OPTION_DURATION] = { .name = "duration",
			   .type = BROOD_OPTION_DURATION,
			   .fallback = "1500ms",
			   .min = 0,
			   .max = 86400000,
			   .help = "A time." },
	[OPTION_TEXT] = { .name = "text",
			   .type = BROOD_OPTION_TEXT,
			   .fallback = "a text",
			   .min = 1,
			   .max = 40,
			   .help = "A text." },
	[OPTION_CHOICE] = { .name = "choice",
			   .type = BROOD_OPTION_CHOICE,
			   .fallback = "green",
			   .choices = colours,
			   .help = "A colour." },
	[OPTION_LIST] = { .name = "list",
			   .type = BROOD_OPTION_LIST,
			   .fallback = "{ \"one\", \"two\" }",
			   .help = "A list." },
	[OPTION_LOG] = { .name = "access",                          .type = BROOD_OPTION_LOG, .fallback = "off", .help = "A log." },
	[OPTION_DIRECTORY] = { .name = "directory",
			   .type = BROOD_OPTION_DIRECTORY,
			   .fallback = "/",
			   .help = "A directory." },
	[OPTION_FILE] = { .name = "file",                    .type = BROOD_OPTION_FILE, .fallback = "/etc/fstab", .help = "A file." },
	[OPTION_FAIL_START] = { .name = "fail_start",
			   .type = BROOD_OPTION_BOOL,
			   .fallback = "off",
			   .help = "Whether start() fails." },
	{ .name = NULL        },
};

static const struct brood_start *given;

static int check(const union brood_value *values, char *reason, size_t size)
{
	if (values[OPTION_NUMBER].number < values[OPTION_LIMIT].number)
		return 0;
	snprintf(reason, size, "number is not below limit");
	return -EINVAL;
}

static int start(const struct brood_start *start, void **ret_state)
{
	if (start->host != NULL) {
		start->log(3, "the module is given what is the daemon's own");
		return -EPERM;
	}
	if (start->values[OPTION_FAIL_START].on) {
		start->log(4, "told not to start");
		return -EIO;
	}
	given = start;
	*ret_state = &given;
	return 0;
}

static int answer(struct brood_stream *stream, const union brood_value *values)
{
	char text[1024];
	size_t used = 0;
	int size = snprintf(text, sizeof(text),
		"switch=%d\nnumber=%lld\nlimit=%lld\nsize=%lld\nduration=%lld\ntext=%s\nchoice=%s\n",
		values[OPTION_SWITCH].on, (long long)values[OPTION_NUMBER].number,
		(long long)values[OPTION_LIMIT].number, (long long)values[OPTION_SIZE].number,
		(long long)values[OPTION_DURATION].number, values[OPTION_TEXT].text,
		colours[values[OPTION_CHOICE].number]);

	used = (size_t)size;
	for (const char *const *item = values[OPTION_LIST].list; *item != NULL; item++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "list=%s\n", *item);
	used += (size_t)snprintf(text + used, sizeof(text) - used, "directory=%s\nfile=%s\npool=%s\n\n",
		values[OPTION_DIRECTORY].text, values[OPTION_FILE].text, given->pool);
	return brood_write_all(stream, text, used);
}

static int serve(void *state, struct brood_stream *stream)
{
	const char *line;
	int ret;

	if (state != &given)
		return -EINVAL;
	while ((ret = brood_await(stream)) > 0) {
		ssize_t size;

		brood_request_begin(stream);
		size = brood_read_until(stream, "\n", 1, 4096, &line);
		if (size <= 0)
			return (int)size;
		given->access_log((unsigned int)given->values[OPTION_LOG].number, line, (size_t)size - 1);
		ret = answer(stream, given->values);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

static void stop(void *state)
{
	(void)state;
	given->log(6, "the module stops");
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "options",
	.version = "1.2",
	.client_first = true,
	.options = options,
	.check = check,
	.start = start,
	.serve = serve,
	.stop = stop,
};
