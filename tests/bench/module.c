/* SPDX-License-Identifier: MIT */
/*
 * A module of the least size: it answers each message of 128 bytes with itself. With the option `messages` the
 * connection is closed after so many; else it lasts until the client ends it. With `hold` a request takes so long: the
 * first byte of the answer is sent when it begins, the others when it ends.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

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
	{
         .name = "hold",
         .type = BROOD_OPTION_DURATION,
         .fallback = "0s",
         .max = 60000,
         .help = "How long a request takes.",
	 },
	{ .name = NULL},
};

static int64_t messages; /* of a connection */
static int64_t hold_ms;

static int start(const struct brood_start *start, void **ret_state)
{
	messages = start->values[0].number;
	hold_ms = start->values[1].number;
	*ret_state = NULL;
	return 0;
}

static int answer(struct brood_stream *stream, const struct brood_framing *framing, const char *message, size_t size)
{
	struct timespec left = { .tv_sec = hold_ms / 1000, .tv_nsec = hold_ms % 1000 * 1000000 };
	char kept[MESSAGE_SIZE];
	int ret;

	if (!hold_ms)
		return brood_message_write(stream, framing, message, size);
	memcpy(kept, message, size); /* the message is the stream's until it writes */
	ret = brood_write_all(stream, kept, 1);
	if (ret < 0)
		return ret;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
	return brood_write_all(stream, kept + 1, size - 1);
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
			ret = answer(stream, &framing, message, size);
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
