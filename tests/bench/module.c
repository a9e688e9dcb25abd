/* SPDX-License-Identifier: MIT */
/*
 * A module of the least size: it answers each message of 128 bytes with itself. With the option `messages` the
 * connection is closed after so many; else it lasts until the client ends it.
 */
#include <stdint.h>

#include <brood/message.h>
#include <brood/module.h>

#define MESSAGE_SIZE 128

static const struct brood_option options[] = {
	{
         .name = "messages",
         .type = BROOD_OPTION_NUMBER,
         .fallback = "0",
         .max = 1000000,
         .help = "How many messages a connection has; 0: any number.",
	 },
	{ .name = NULL   },
};

static int64_t messages; /* of a connection */

static int start(const struct brood_start *start, void **ret_state)
{
	messages = start->values[0].number;
	*ret_state = NULL;
	return 0;
}

static int serve(void *state, struct brood_stream *stream)
{
	static const struct brood_framing framing = { .kind = BROOD_FRAMING_FIXED, .size = MESSAGE_SIZE };
	const char *message;
	size_t size;
	int ret = 0;

	(void)state;
	for (int64_t i = 0; messages == 0 || i < messages; i++) {
		ret = brood_await(stream);
		if (ret <= 0)
			break;
		brood_request_begin(stream);
		ret = brood_message_read(stream, &framing, &message, &size);
		if (ret >= 0)
			ret = brood_message_write(stream, &framing, message, size);
		if (ret < 0)
			break;
		brood_request_end(stream);
	}
	return ret;
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "bench",
	.version = "1.0",
	.client_first = true,
	.options = options,
	.start = start,
	.serve = serve,
};
