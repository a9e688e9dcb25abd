/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_format.h"
#include "base/log_wire.h"
#include "base/logger.h"

static struct logger_channel channel;

static void connect_log(void)
{
	cr_assert_eq(logger_channel_init(&channel), 0);
	log_connect(channel.write_fd, channel.dropped);
}

/* The next message of the channel, as text. */
static const char *next_message(void)
{
	static char message[LOG_LINE_MAX], line[LOG_FORMAT_MAX];
	struct log_text text = { .data = line, .size = sizeof(line) - 1 };
	struct log_record record;
	ssize_t size = recv(channel.read_fd, message, sizeof(message), MSG_DONTWAIT);

	if (size < 0)
		return NULL;
	if (log_wire_parse(message, (size_t)size, &record) < 0)
		return "(unreadable)";
	if (record.header.stream > 0)
		log_format_access(&text, &record);
	else
		log_format_message(&text, &record);
	line[text.used] = '\0';
	return line;
}

Test(log, every_byte_is_escaped_or_printable)
{
	for (int byte = 1; byte < 256; byte++) {
		char in[2] = { (char)byte, '\0' };
		char out[8], expected[8];

		if (byte >= 0x20 && byte < 0x7f && byte != '\\')
			snprintf(expected, sizeof(expected), "%c", byte);
		else
			snprintf(expected, sizeof(expected), "\\x%02x", (unsigned int)byte);
		cr_assert_str_eq(log_escape(in, out, sizeof(out)), expected);
	}
}

/* A text with a size may hold a NUL; without one it ends there. */
Test(log, bytes_are_escaped_up_to_their_size)
{
	connect_log();
	log_event(LOG_LEVEL_NOTICE, "output", LOG_BYTES("text", "a\0b\n", 4), LOG_BYTES("none", "", 0),
		LOG_TEXT("whole", "a"));
	cr_assert_str_eq(next_message(), "output text=a\\x00b\\x0a none=\"\" whole=a");
}

Test(log, an_escape_is_never_cut_in_half)
{
	char buffer[8];

	cr_assert_str_eq(log_escape("ab\n", buffer, 6), "ab");
	cr_assert_str_eq(log_escape("ab\n", buffer, 7), "ab\\x0a");
	cr_assert_str_eq(log_escape("abcdefghi", buffer, sizeof(buffer)), "abcdefg");
	cr_assert_str_eq(log_escape("abc", buffer, 1), "");
	buffer[0] = 'x';
	log_escape("abc", buffer, 0);
	cr_assert_eq(buffer[0], 'x');
}

Test(log, levels_have_names_and_names_levels)
{
	enum log_level level = LOG_LEVEL_ERROR;

	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		cr_assert_eq(log_level_parse(log_level_name((enum log_level)i), &level), 0);
		cr_assert_eq((int)level, i);
	}
	cr_assert_eq(log_level_parse("warn", &level), -EINVAL);
	cr_assert_eq(log_level_parse("", &level), -EINVAL);
	cr_assert_eq((int)level, LOG_LEVEL_DEBUG, "untouched on failure");
}

Test(log, an_error_of_either_sign_has_a_message)
{
	cr_assert_str_eq(log_strerror(-ENOENT), "No such file or directory");
	cr_assert_str_eq(log_strerror(ENOENT), "No such file or directory");
	cr_assert_str_eq(log_strerror(-99999), "Unknown error");
}

Test(log, less_urgent_lines_are_not_written)
{
	connect_log();
	log_event(LOG_LEVEL_DEBUG, "debug, off by default");
	log_event(LOG_LEVEL_INFO, "info");
	log_set_level(LOG_LEVEL_ERROR);
	log_event(LOG_LEVEL_WARNING, "warning, off");
	log_event(LOG_LEVEL_ERROR, "error");
	cr_assert_eq(log_get_level(), LOG_LEVEL_ERROR);
	cr_assert_str_eq(next_message(), "info");
	cr_assert_str_eq(next_message(), "error");
	cr_assert_null(next_message());
}

Test(log, fields_are_named_and_quoted_where_needed)
{
	connect_log();
	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", "web"), LOG_INT("slot", 3),
		LOG_TEXT("how", "signal 9"), LOG_TEXT("none", ""), LOG_TEXT("quote", "a\"b"), LOG_TEXT("equals", "a=b"),
		LOG_INT("low", INT64_MIN), LOG_INT("high", INT64_MAX), LOG_INT("zero", 0), LOG_INT("minus", -1));
	cr_assert_str_eq(next_message(),
		"worker died pool=web slot=3 how=\"signal 9\" none=\"\" quote=\"a\\\"b\" equals=\"a=b\" "
		"low=-9223372036854775808 high=9223372036854775807 zero=0 minus=-1");
}

Test(log, a_value_cannot_end_its_line_or_field)
{
	connect_log();
	log_event(LOG_LEVEL_INFO, "request\nfoul",
		LOG_TEXT("path", "a\n\x1e"
				 "b\x1d"
				 "c\x1f"
				 "d\\\xc3\xa9"),
		LOG_INT("n", 1));
	cr_assert_str_eq(next_message(), "request\\x0afoul path=a\\x0a\\x1eb\\x1dc\\x1fd\\x5c\\xc3\\xa9 n=1");
}

Test(log, a_long_line_is_cut_and_says_so)
{
	static char value[2 * LOG_LINE_MAX];
	const char *line;

	connect_log();
	memset(value, 'v', sizeof(value) - 1);
	log_event(LOG_LEVEL_INFO, "long", LOG_INT("first", 1), LOG_TEXT("value", value), LOG_INT("last", 2));
	line = next_message();
	cr_assert_eq(strncmp(line, "long first=1 value=vvvv", 23), 0);
	cr_assert_str_eq(line + strlen(line) - 6, "vv ...");
	cr_assert_gt(strlen(line), LOG_LINE_MAX - 64);
	cr_assert_null(strstr(line, "last"));
}

Test(log, a_number_is_not_cut_to_another_number)
{
	static char value[LOG_LINE_MAX];
	char expected[32];

	/* Every way in which the number's field can just not fit. */
	connect_log();
	for (size_t room = 0; room < 40; room++) {
		const char *line, *field;

		memset(value, 'v', sizeof(value));
		value[LOG_LINE_MAX - sizeof(struct log_wire_header) - strlen("e") - strlen(" v=") - room] = '\0';
		log_event(LOG_LEVEL_INFO, "e", LOG_TEXT("v", value), LOG_INT("number", 1234567890123));
		line = next_message();
		field = strstr(line, " number=");
		snprintf(expected, sizeof(expected), " number=%s", "1234567890123");
		if (field != NULL)
			cr_assert_str_eq(field, expected);
		else
			cr_assert_str_eq(line + strlen(line) - 4, " ...");
		cr_assert_eq(field != NULL, room >= strlen(" number=1234567890123"), "room %zu", room);
	}
}

Test(log, an_access_line_goes_as_it_is)
{
	static char line[2 * LOG_LINE_MAX];
	const char *read;

	connect_log();
	log_access(1, "127.0.0.1 - - \"GET /\xc3\xa9 HTTP/1.1\" 200", 36);
	log_access(1, "two\nlines\x7f", 10);
	memset(line, 'a', sizeof(line));
	log_access(2, line, sizeof(line));
	cr_assert_str_eq(next_message(), "127.0.0.1 - - \"GET /\xc3\xa9 HTTP/1.1\" 200");
	cr_assert_str_eq(next_message(), "two\\x0alines\\x7f");
	read = next_message();
	cr_assert_str_eq(read + strlen(read) - 5, "aa...");
}

Test(log, what_does_not_fit_is_dropped_and_counted, .timeout = 60)
{
	uint64_t received = 0;
	const unsigned int count = 100000;

	connect_log();
	for (unsigned int i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	while (next_message() != NULL)
		received++;
	cr_assert_gt(received, 100);
	cr_assert_lt(received, count);
	cr_assert_eq(*channel.dropped, count - received);
	log_event(LOG_LEVEL_INFO, "flows again");
	cr_assert_str_eq(next_message(), "flows again");
}

Test(log, a_reader_that_is_gone_costs_lines_only)
{
	connect_log();
	close(channel.read_fd);
	errno = 77;
	log_event(LOG_LEVEL_INFO, "to nobody");
	log_access(1, "x", 1);
	cr_assert_eq(errno, 77, "errno is the caller's");
	cr_assert_eq(*channel.dropped, 2);
}

Test(log, the_shared_socket_stays_blocking)
{
	connect_log();
	for (unsigned int i = 0; i < 20000; i++)
		log_event(LOG_LEVEL_INFO, "line");
	cr_assert_eq(fcntl(channel.write_fd, F_GETFL) & O_NONBLOCK, 0);
	cr_assert_eq(fcntl(channel.read_fd, F_GETFL) & O_NONBLOCK, 0);
}

Test(log, before_the_logger_lines_go_to_standard_error)
{
	char buffer[256];
	int pipe_fds[2];
	ssize_t size;

	cr_assert_eq(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDERR_FILENO);
	log_event(LOG_LEVEL_WARNING, "backlog is cut", LOG_INT("backlog", 511), LOG_TEXT("limit", "net core"));
	log_access(1, "nowhere", 7);
	size = read(pipe_fds[0], buffer, sizeof(buffer) - 1);
	cr_assert_gt(size, 0);
	buffer[size] = '\0';
	cr_assert_str_eq(buffer, "brood: warning: backlog is cut backlog=511 limit=\"net core\"\n");
	cr_assert_eq(log_socket(), -1);
}

Test(log, standard_error_that_stalls_holds_nobody, .timeout = 60)
{
	int pipe_fds[2];

	cr_assert_eq(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDERR_FILENO);
	for (int i = 0; i < 100000; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	cr_assert_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

/* Whatever bytes come through the socket, the forms of the line hold one line and no separator. */
Test(log, foreign_messages_make_no_foreign_lines)
{
	static char line[LOG_FORMAT_MAX];
	struct {
		struct log_wire_header header;
		char body[256];
	} message = {
		.header = {.version = LOG_WIRE_VERSION, .level = LOG_LEVEL_INFO}
	};
	unsigned int random = 1;

	for (int round = 0; round < 20000; round++) {
		struct log_text text = { .data = line, .size = sizeof(line) };
		size_t size = sizeof(message.header) + (size_t)round % sizeof(message.body);
		struct log_record record;

		for (size_t i = 0; i < sizeof(message.body); i++) {
			random = random * 1103515245 + 12345;
			message.body[i] = (char)((random >> 16) % 4 == 0 ? 0x1d + (random >> 20) % 3 : random >> 16);
		}
		cr_assert_eq(log_wire_parse(&message, size, &record), 0);
		log_format_text(&text, &record);
		log_format_json(&text, &record);
		for (size_t i = 0; i < text.used; i++)
			cr_assert(line[i] >= 0x20 && line[i] < 0x7f);
	}
	message.header.version = LOG_WIRE_VERSION + 1;
	cr_assert_eq(log_wire_parse(&message, sizeof(message), &(struct log_record){ .event = NULL }), -EBADMSG);
	cr_assert_eq(
		log_wire_parse(&message, sizeof(message.header) - 1, &(struct log_record){ .event = NULL }), -EBADMSG);
	message.header.version = LOG_WIRE_VERSION;
	for (int level = 0; level <= UINT8_MAX; level++) {
		bool known = level >= LOG_LEVEL_ERROR && level <= LOG_LEVEL_DEBUG;

		message.header.level = (uint8_t)level;
		cr_assert_eq(log_wire_parse(&message, sizeof(message), &(struct log_record){ .event = NULL }),
			known ? 0 : -EBADMSG);
	}
}
