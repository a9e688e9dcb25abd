/* SPDX-License-Identifier: MIT */
/*
 * What programs say to the master: messages of sd_notify(3), and Einhorn's acknowledgements. What no bytes may bring
 * about is checked by abort().
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "master/ack_line.h"
#include "master/notify_message.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No control byte comes into the log or onto the scoreboard. */
static void check_status(const struct notify_message *message)
{
	size_t length = strnlen(message->status, sizeof(message->status));

	MUST(length < sizeof(message->status));
	MUST(message->has_status || length == 0);
	for (size_t i = 0; i < length; i++)
		MUST((unsigned char)message->status[i] >= 0x20 && message->status[i] != 0x7f);
}

static void check_message(const char *text, size_t size)
{
	struct notify_message message, again;

	if (notify_message_parse(text, size, &message) < 0)
		return;
	check_status(&message);
	MUST(message.error >= 0 && message.main_pid >= 0 && message.extend_us <= NOTIFY_EXTEND_MAX_US);
	/* A status that went through once goes through unchanged. */
	if (message.has_status) {
		char line[NOTIFY_STATUS_MAX + 8] = "STATUS=";

		memcpy(line + strlen(line), message.status, strlen(message.status) + 1);
		MUST(notify_message_parse(line, strlen(line), &again) == 0);
		MUST(strcmp(again.status, message.status) == 0);
	}
}

static void check_ack(const char *text, size_t size)
{
	struct ack_line line;

	if (ack_line_parse(text, size, &line) < 0)
		return;
	MUST(line.pid >= 0);
	MUST(line.command == ACK_READY || line.command == ACK_PING || line.command == ACK_OTHER);
	MUST(memmem(text, size, "command", 7) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own makes a byte too many visible. */
	char *text = malloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(text, data, size);
	check_message(text, size);
	check_ack(text, size);
	free(text);
	return 0;
}
