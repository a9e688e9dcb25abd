/* SPDX-License-Identifier: MIT */
/*
 * The logger process: reads what the writers queue, hands it to the outputs, and says what was lost. One wait, for the
 * socket, for the receivers that have stalled, and for signals.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_format.h"
#include "base/log_wire.h"
#include "base/logger.h"
#include "base/logger_counters.h"
#include "base/logger_output.h"
#include "base/logger_signals.h"
#include "base/logger_target.h"

/* Messages that are read, and then written, at a time. */
#define BATCH_MAX 64

/* Reports of lost lines are not closer together than this. */
#define REPORT_INTERVAL_MS 1000

/* After access lines the logger lets more of them gather: a process that logs a line to a logger that is awake pays
 * for no wake-up, and the lines are written together. */
#define LINGER_MS 1

struct logger {
	struct logger_target target;
	struct logger_output *access;
	size_t access_count;
	int read_fd;
	struct logger_counters *counters;
	char *line;
	/* Room for a batch. */
	char (*messages)[LOG_LINE_MAX];
	struct mmsghdr *headers;
	struct iovec *vectors;
	struct pollfd *polled; /* the socket, the target, the access logs */
	uint64_t report_at_ms; /* no report before */
	bool linger;           /* access lines have just come: let others gather */
	bool hung_up;          /* nobody can send any more */
	bool drained;          /* the last look found the socket empty */
	bool reopened;         /* and not said yet */
	bool said_last_losses;
};

/* Every file is opened anew; one that cannot be keeps the file it has. */
static void reopen_files(struct logger *logger)
{
	logger->reopened = true;
	if (logger->target.kind == LOG_TARGET_FILE)
		logger->target.output.reopen_error = logger_output_reopen(&logger->target.output);
	for (size_t i = 0; i < logger->access_count; i++)
		logger->access[i].reopen_error = logger_output_reopen(&logger->access[i]);
}

/* Hands a line to the target, whatever signals come. */
static void logger_emit(struct logger *logger, const struct log_record *record)
{
	int error;

	do {
		error = logger_target_write(&logger->target, record);
		if (logger_signals_take_reopen())
			reopen_files(logger);
	} while (error == -EINTR);
}

/* A line of the logger's own. RET_RECORD points into logger->line. */
static void own_record(struct logger *logger, enum log_level level, const char *event, const struct log_field *fields,
	struct log_record *ret_record)
{
	struct log_wire_header header = {
		.level = (uint8_t)level,
		.pid = (int32_t)getpid(),
		.time_us = clock_realtime_us(),
	};
	size_t size = log_wire_encode(logger->line, &header, event, fields);

	if (log_wire_parse(logger->line, size, ret_record) < 0)
		abort(); /* of our own making */
}

static void logger_write(struct logger *logger, enum log_level level, const char *event, const struct log_field *fields)
{
	struct log_record record;

	if (level > log_get_level())
		return;
	own_record(logger, level, event, fields, &record);
	logger_emit(logger, &record);
}

#define logger_say(logger, level, event, ...) logger_write((logger), (level), (event), LOG_FIELDS(__VA_ARGS__))

static void say_reopened(struct logger *logger, struct logger_output *output)
{
	if (output->reopen_error < 0)
		logger_say(logger, LOG_LEVEL_ERROR, "log file not reopened", LOG_TEXT("file", output->path),
			LOG_ERRNO("error", output->reopen_error));
	output->reopen_error = 0;
}

/* SIGUSR1 is served wherever it comes; what there is to say about it waits until no line is half on its way. */
static void handle_reopen(struct logger *logger)
{
	if (logger_signals_take_reopen())
		reopen_files(logger);
	if (!logger->reopened)
		return;
	logger->reopened = false;
	say_reopened(logger, &logger->target.output);
	for (size_t i = 0; i < logger->access_count; i++)
		say_reopened(logger, &logger->access[i]);
	logger_say(logger, LOG_LEVEL_INFO, "log files reopened");
}

static void take_access_line(struct logger *logger, const struct log_record *record)
{
	struct log_text text = { .data = logger->line, .size = LOG_FORMAT_MAX - 1 };
	uint32_t stream = record->header.stream;

	logger->linger = true;
	if (stream > logger->access_count) {
		logger->target.output.lost++;
		return;
	}
	log_format_access(&text, record);
	text.data[text.used++] = '\n';
	logger_output_append(&logger->access[stream - 1], text.data, text.used);
}

static void take_message(struct logger *logger, const char *message, size_t size)
{
	struct log_record record;

	if (log_wire_parse(message, size, &record) < 0)
		logger->target.output.lost++;
	else if (record.header.stream > 0)
		take_access_line(logger, &record);
	else
		logger_emit(logger, &record);
}

/* Reads and hands on what is queued, up to a batch. */
static void take_batch(struct logger *logger)
{
	int count = recvmmsg(logger->read_fd, logger->headers, BATCH_MAX, MSG_DONTWAIT, NULL);

	logger->drained = count < 0 && errno != ECONNRESET; /* which comes once, before what is queued */
	logger->linger = false;
	for (int i = 0; i < count; i++) {
		/* An empty message is the end, 64 times; or someone's nonsense, if the socket has not hung up. */
		if (logger->headers[i].msg_len > 0)
			take_message(logger, logger->messages[i], logger->headers[i].msg_len);
		else if (logger->hung_up)
			logger->drained = true;
	}
	if (count == BATCH_MAX)
		logger->linger = false;
}

static bool report_is_due(const struct logger_output *output)
{
	return output->lost > 0 && !output->stalled;
}

/* Also if the target fails: the report is then the line that tries again. */
static void report_target(struct logger *logger)
{
	struct logger_output *output = &logger->target.output;
	struct log_record record;
	struct log_field fields[3] = { LOG_INT("count", (int64_t)output->lost) };

	if (!report_is_due(output))
		return;
	if (output->lost_error < 0)
		fields[1] = LOG_ERRNO("error", output->lost_error);
	own_record(logger, LOG_LEVEL_WARNING, "log lines dropped", fields, &record);
	logger_target_announce(&logger->target, &record);
}

/* An access log speaks through the log, once it takes lines again. */
static void report_access(struct logger *logger, struct logger_output *output)
{
	int error = output->lost_error;
	uint64_t lost = output->lost;

	if (!report_is_due(output) || (output->error < 0 && !logger_signals_leaving()))
		return;
	output->lost = 0;
	output->lost_error = 0;
	if (error < 0)
		logger_say(logger, LOG_LEVEL_WARNING, "access log lines dropped", LOG_TEXT("file", output->path),
			LOG_INT("count", (int64_t)lost), LOG_ERRNO("error", error));
	else
		logger_say(logger, LOG_LEVEL_WARNING, "access log lines dropped", LOG_TEXT("file", output->path),
			LOG_INT("count", (int64_t)lost));
}

/* Takes over what the writers have dropped since the last look. */
static void count_dropped(struct logger *logger)
{
	uint64_t dropped = __atomic_load_n(&logger->counters->dropped, __ATOMIC_RELAXED);

	logger->target.output.lost += dropped - logger->counters->reported;
	logger->counters->reported = dropped;
}

static void report_losses(struct logger *logger)
{
	for (size_t i = 0; i < logger->access_count; i++)
		report_access(logger, &logger->access[i]);
	report_target(logger);
	logger_target_flush(&logger->target);
	logger->report_at_ms = clock_monotonic_ms() + REPORT_INTERVAL_MS;
}

static bool any_report_is_due(const struct logger *logger)
{
	for (size_t i = 0; i < logger->access_count; i++)
		if (report_is_due(&logger->access[i]) && logger->access[i].error == 0)
			return true;
	return report_is_due(&logger->target.output);
}

/* Milliseconds until the next report; -1: there is nothing to report. */
static int report_timeout(const struct logger *logger)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (!any_report_is_due(logger))
		return -1;
	return logger->report_at_ms > now_ms ? (int)(logger->report_at_ms - now_ms) : 0;
}

/* Once an episode: when an access log begins to fail, not for each line. */
static void flush_access(struct logger *logger, struct logger_output *output)
{
	int error_before = output->error;

	if (output->stalled)
		return;
	logger_output_flush(output);
	if (output->error < 0 && error_before == 0)
		logger_say(logger, LOG_LEVEL_ERROR, "access log cannot be written", LOG_TEXT("file", output->path),
			LOG_ERRNO("error", output->error));
}

static void flush_outputs(struct logger *logger)
{
	for (size_t i = 0; i < logger->access_count; i++)
		flush_access(logger, &logger->access[i]);
	logger_target_flush(&logger->target);
}

static void poll_output(struct pollfd *polled, const struct logger_output *output)
{
	*polled = (struct pollfd){ .fd = output->stalled ? output->fd : -1, .events = POLLOUT };
}

/* How long the wait may be; -1: for ever. */
static int wait_timeout(const struct logger *logger)
{
	if (!logger->drained && !logger->linger)
		return 0;
	return logger->linger ? LINGER_MS : report_timeout(logger);
}

/* Waits for something to do. Signals arrive here, so it is called even if there is no need to wait. */
static void logger_wait(struct logger *logger)
{
	size_t count = 2 + logger->access_count;
	int timeout_ms = wait_timeout(logger);

	/* A socket that hung up would end each wait at once. */
	logger->polled[0] = (struct pollfd){
		.fd = logger->linger || logger->hung_up ? -1 : logger->read_fd,
		.events = POLLIN | POLLRDHUP, /* the latter alone: a writer has shut down the socket of all of them */
	};
	poll_output(&logger->polled[1], &logger->target.output);
	for (size_t i = 0; i < logger->access_count; i++)
		poll_output(&logger->polled[2 + i], &logger->access[i]);
	if (logger_signals_wait(logger->polled, count, timeout_ms) <= 0)
		return;
	if ((logger->polled[0].revents & (POLLHUP | POLLRDHUP)) != 0)
		logger->hung_up = true;
	if (logger->polled[1].revents != 0)
		logger->target.output.stalled = false;
	for (size_t i = 0; i < logger->access_count; i++)
		if (logger->polled[2 + i].revents != 0)
			logger->access[i].stalled = false;
}

static bool outputs_are_empty(const struct logger *logger)
{
	size_t used = logger->target.output.used;

	for (size_t i = 0; i < logger->access_count; i++)
		used += logger->access[i].used;
	return used == 0;
}

/* All that was queued is written, and what was lost is said, or it was tried. */
static bool logger_is_done(struct logger *logger)
{
	if (!logger_signals_leaving() || !logger->drained || !outputs_are_empty(logger))
		return false;
	if (logger->said_last_losses)
		return true;
	logger->said_last_losses = true;
	report_losses(logger);
	return outputs_are_empty(logger);
}

static void logger_work(struct logger *logger)
{
	handle_reopen(logger);
	if (logger->hung_up)
		logger_signals_leave();
	take_batch(logger);
	flush_outputs(logger);
	count_dropped(logger);
	if (clock_monotonic_ms() >= logger->report_at_ms && any_report_is_due(logger))
		report_losses(logger);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (memory == NULL)
		_exit(1); /* the master starts another */
	return memory;
}

static void logger_init(struct logger *logger, const struct logger_config *config, struct logger_channel *channel)
{
	*logger = (struct logger){
		.read_fd = channel->read_fd,
		.counters = (struct logger_counters *)(void *)channel->dropped,
		.access_count = config->access_count,
		.line = allocate(1, LOG_FORMAT_MAX),
		.messages = allocate(BATCH_MAX, LOG_LINE_MAX),
		.headers = allocate(BATCH_MAX, sizeof(*logger->headers)),
		.vectors = allocate(BATCH_MAX, sizeof(*logger->vectors)),
		.polled = allocate(2 + config->access_count, sizeof(*logger->polled)),
		.access = allocate(config->access_count + 1, sizeof(*logger->access)),
	};
	for (size_t i = 0; i < BATCH_MAX; i++) {
		logger->vectors[i] = (struct iovec){ .iov_base = logger->messages[i], .iov_len = LOG_LINE_MAX };
		logger->headers[i].msg_hdr = (struct msghdr){ .msg_iov = &logger->vectors[i], .msg_iovlen = 1 };
	}
}

static void open_outputs(struct logger *logger, const struct logger_config *config)
{
	const char *fallback;

	if (logger_target_init(&logger->target, config, &fallback) < 0)
		_exit(1);
	if (fallback != NULL)
		logger_say(logger, LOG_LEVEL_WARNING, "journal not available, logging to standard error",
			LOG_TEXT("reason", fallback));
	for (size_t i = 0; i < config->access_count; i++) {
		int error = logger_output_init(&logger->access[i], config->access_files[i]);

		if (error == -ENOMEM)
			_exit(1);
		if (error < 0)
			logger_say(logger, LOG_LEVEL_ERROR, "access log cannot be written",
				LOG_TEXT("file", config->access_files[i]), LOG_ERRNO("error", error));
	}
}

/* Away from the terminal's signals and from everything that is open. */
static void leave_the_master(struct logger_channel *channel)
{
	int keep[] = { channel->read_fd };

	setsid();
	prctl(PR_SET_NAME, "brood: logger");
	log_connect(-1, NULL);
	if (fd_close_others(STDERR_FILENO + 1, keep, ARRAY_SIZE(keep)) < 0)
		_exit(1);
}

void logger_main(const struct logger_config *config, struct logger_channel *channel)
{
	struct logger logger;

	logger_signals_init();
	leave_the_master(channel);
	logger_init(&logger, config, channel);
	open_outputs(&logger, config);
	for (;;) {
		logger_work(&logger);
		if (logger_is_done(&logger))
			_exit(0);
		logger_wait(&logger);
	}
}
