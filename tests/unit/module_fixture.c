/* SPDX-License-Identifier: MIT */
/*
 * A module for test_module_link, which is built three times: linked with the shared library, with the archive, and
 * with neither. It answers each line, and shows which copy of libbrood its calls reach.
 */
#include <brood/message.h>
#include <brood/module.h>

/* A name that the program has too, for something else. */
int log_event(void);
int log_event(void)
{
	return 42;
}

/* Where the calls go, for the test. */
typedef void (*fixture_call)(void);
extern const fixture_call fixture_calls[3];
const fixture_call fixture_calls[3] = {
	(fixture_call)brood_message_read,
	(fixture_call)brood_message_write,
	(fixture_call)brood_close,
};

static int serve(void *state, struct brood_stream *stream)
{
	static const struct brood_framing line = {
		.kind = BROOD_FRAMING_DELIMITER, .delimiter = "\n", .delimiter_size = 1, .limit = 100
	};
	const char *message;
	size_t size;
	int ret;

	while ((ret = brood_message_read(stream, &line, &message, &size)) > 0) {
		brood_request_begin(stream);
		ret = brood_message_write(stream, &line, message, size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret < 0 ? ret : log_event();
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "fixture",
	.version = "1",
	.serve = serve,
};
