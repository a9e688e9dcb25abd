/* SPDX-License-Identifier: MIT */
/*
 * Messages off a socket, in each framing, in one piece and byte by byte: both must give the same messages and the same
 * end, and what was read must be written as the bytes it came from. The first byte chooses framing and limit. What no
 * input may bring about is checked by abort().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <brood/message.h>

#include "libbrood/stream_private.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 255

static const struct brood_framing framings[] = {
	{.kind = BROOD_FRAMING_FIXED,   .size = 3 },
	{ .kind = BROOD_FRAMING_DELIMITER,                            .delimiter = "\n", .delimiter_size = 1 },
	{ .kind = BROOD_FRAMING_DELIMITER,.delimiter = "aba", .delimiter_size = 3 },
	{ .kind = BROOD_FRAMING_LENGTH,                            .size = 1 },
	{ .kind = BROOD_FRAMING_LENGTH,                           .size = 2 },
	{ .kind = BROOD_FRAMING_LENGTH,                            .size = 4 },
	{ .kind = BROOD_FRAMING_LENGTH,.size = 8 },
	{ .kind = BROOD_FRAMING_LENGTH_TEXT},
	{ .kind = BROOD_FRAMING_SHUTDOWN                           },
};

static const size_t limits[] = { 0, 1, 9, SIZE_MAX };

struct outcome {
	char messages[2 * INPUT_MAX]; /* one behind the other, each with its size before it */
	size_t size;
	uint8_t written[INPUT_MAX + 64]; /* as brood_message_write() writes them again */
	size_t written_size;
	int end;
};

/* ---- the socket: what it brings, in pieces, and what it takes ---- */

static struct {
	const uint8_t *data;
	size_t left;
	size_t piece;
	struct outcome *outcome;
} peer;

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	size_t count = peer.left < peer.piece ? peer.left : peer.piece;

	if (count > size)
		count = size;
	memcpy(buffer, peer.data, count);
	peer.data += count;
	peer.left -= count;
	return (ssize_t)count;
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
	struct outcome *outcome = peer.outcome;

	MUST(size <= sizeof(outcome->written) - outcome->written_size);
	memcpy(outcome->written + outcome->written_size, buffer, size);
	outcome->written_size += size;
	return (ssize_t)size;
}

int shutdown(int fd, int how)
{
	return 0;
}

/* ---- the check ---- */

static void read_all(
	const struct brood_framing *framing, const uint8_t *data, size_t size, size_t piece, struct outcome *outcome)
{
	struct brood_stream stream;
	const char *message;
	size_t message_size;

	memset(outcome, 0, sizeof(*outcome));
	peer.data = data;
	peer.left = size;
	peer.piece = piece;
	peer.outcome = outcome;
	brood_stream_init(&stream, NULL);
	brood_stream_attach(&stream, -1, &(struct brood_timeouts){ 0 });
	while ((outcome->end = brood_message_read(&stream, framing, &message, &message_size)) > 0) {
		MUST(message_size <= framing->limit || framing->kind == BROOD_FRAMING_FIXED);
		outcome->messages[outcome->size++] = (char)message_size;
		memcpy(outcome->messages + outcome->size, message, message_size);
		outcome->size += message_size;
		MUST(brood_message_write(&stream, framing, message, message_size) == 0);
	}
	MUST(stream.bytes_in == size - peer.left && stream.bytes_out == outcome->written_size);
	brood_stream_done(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, bytes;
	struct brood_framing framing;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	framing = framings[(data[0] >> 2) % (sizeof(framings) / sizeof(framings[0]))];
	framing.limit = limits[data[0] & 3];
	data++;
	size--;
	read_all(&framing, data, size, INPUT_MAX, &whole);
	read_all(&framing, data, size, 1, &bytes);
	MUST(whole.end == bytes.end && (whole.end == 0 || whole.end == -EBADMSG || whole.end == -EMSGSIZE));
	MUST(whole.size == bytes.size && memcmp(whole.messages, bytes.messages, whole.size) == 0);
	MUST(whole.written_size <= size && memcmp(whole.written, data, whole.written_size) == 0);
	if (whole.end == 0)
		MUST(whole.written_size == size);
	return 0;
}
