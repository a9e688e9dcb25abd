/* SPDX-License-Identifier: MIT */
#include "master/adoption.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

/* Before the first time; twice that before the next one, and so on. */
#define AGAIN_PAUSE_NS 50000000L

static int refuse(char reason[ADOPTION_REASON_MAX], int error, const char *text)
{
	snprintf(reason, ADOPTION_REASON_MAX, "%s: %s", text, log_strerror(error));
	return error;
}

/* Reads all records once. The first one is of the master. */
static int read_all(struct adoption *adoption, char reason[ADOPTION_REASON_MAX])
{
	struct state_reader reader;
	struct state_record record;
	int result = state_reader_init(&reader, adoption->data, adoption->size);

	if (result == -EPROTONOSUPPORT)
		return refuse(reason, result, "the state has a form that this version is too old for");
	if (result < 0)
		return refuse(reason, result, "there is no state");
	if (state_read(&reader, &record) != 1 || record.kind != STATE_MASTER)
		return refuse(reason, -EBADMSG, "the state does not begin with the master");
	adoption->master = record.master;
	while ((result = state_read(&reader, &record)) == 1)
		if (record.kind == STATE_CONFIG) {
			adoption->config_text = record.config.text;
			adoption->config_size = record.config.text_size;
		}
	return result < 0 ? refuse(reason, result, "a record of the state does not hold") : 0;
}

static int read_state(struct adoption *adoption, int fd, char reason[ADOPTION_REASON_MAX])
{
	int result = state_memfd_read(fd, &adoption->data, &adoption->size);

	if (result < 0)
		return refuse(reason, result, "the state cannot be read");
	return read_all(adoption, reason);
}

int adoption_check(int fd, char reason[ADOPTION_REASON_MAX])
{
	struct adoption adoption = { 0 };
	int result = read_state(&adoption, fd, reason);

	free(adoption.data);
	return result;
}

int adoption_reader(const struct adoption *adoption, struct state_reader *ret_reader)
{
	return state_reader_init(ret_reader, adoption->data, adoption->size);
}

static void set_close_on_exec(const struct adoption *adoption, bool close)
{
	struct state_reader reader;
	struct state_record record;

	if (adoption_reader(adoption, &reader) < 0)
		return;
	while (state_read(&reader, &record) == 1) {
		int fds[STATE_DESCRIPTORS_MAX];
		size_t count = state_descriptors(&record, fds);

		for (size_t i = 0; i < count; i++)
			fd_set_cloexec(fds[i], close);
	}
}

/* As early as that, so that nothing that is said from here on is lost. */
static void take_logger(struct adoption *adoption)
{
	struct state_reader reader;
	struct state_record record;

	if (adoption_reader(adoption, &reader) < 0)
		return;
	while (state_read(&reader, &record) == 1) {
		const struct state_logger *logger = &record.logger;

		if (record.kind != STATE_LOGGER || adoption->has_logger ||
			logger_channel_adopt(
				&adoption->channel, logger->read_fd, logger->write_fd, logger->counters_fd) < 0)
			continue;
		adoption->has_logger = true;
		adoption->logger_pid = logger->pid;
		log_connect(adoption->channel.write_fd, adoption->channel.dropped);
	}
}

/* "FD", or "FD,AGAIN" of an image that was executed anew. */
static int parse_variable(const char *text, unsigned int *ret_again)
{
	char *end;
	long fd;

	*ret_again = 0;
	if (text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno == 0 && *end == ',')
		*ret_again = (unsigned int)strtoul(end + 1, &end, 10);
	return errno == 0 && *end == '\0' && fd <= INT_MAX ? (int)fd : -1;
}

void adoption_take(struct adoption *adoption)
{
	const char *text = getenv(STATE_VARIABLE);
	unsigned int again = 0;
	FD_AUTO int fd = text == NULL ? -1 : parse_variable(text, &again);

	*adoption = (struct adoption){ .there = text != NULL, .again = again, .channel = LOGGER_CHANNEL_NONE };
	if (text == NULL)
		return;
	unsetenv(STATE_VARIABLE);
	if (read_state(adoption, fd, adoption->reason) < 0)
		return;
	if (adoption->master.pid != getpid()) {
		snprintf(
			adoption->reason, sizeof(adoption->reason), "the state is of process %d", adoption->master.pid);
		return;
	}
	adoption->readable = true;
	/* Before anything looks at the clock. */
	clock_skip(adoption->master.skipped_ms);
	/* They are as all others: no program gets them that is not given them. */
	set_close_on_exec(adoption, true);
	take_logger(adoption);
}

bool adoption_may_again(const struct adoption *adoption)
{
	return adoption->readable && adoption->again < ADOPTION_AGAIN_MAX;
}

/* As master/upgrade.c's, with the state as it was given. */
static int execute_again(const struct adoption *adoption, const struct image *image)
{
	static const char *const without[] = { "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		STATE_VARIABLE, NULL };
	FD_AUTO int fd = state_memfd_make(adoption->data, adoption->size);
	char **arguments, **environment;
	char variable[64];
	int result;

	if (fd < 0)
		return fd;
	snprintf(variable, sizeof(variable), "%s=%d,%u", STATE_VARIABLE, fd, adoption->again + 1);
	arguments = image_arguments(image, NULL, NULL);
	environment = image_environment(image, without, variable);
	result = arguments == NULL || environment == NULL ? -ENOMEM : fd_set_cloexec(fd, false);
	if (result == 0) {
		set_close_on_exec(adoption, false);
		result = image_execute(image, arguments, environment);
		set_close_on_exec(adoption, true);
	}
	free(arguments);
	free(environment);
	return result;
}

void adoption_again(const struct adoption *adoption, const struct image *image)
{
	const struct timespec pause = { .tv_nsec = AGAIN_PAUSE_NS << adoption->again };
	int result;

	if (!adoption_may_again(adoption))
		return;
	log_event(LOG_LEVEL_ERROR, "upgrade: the new binary cannot start, and tries it again",
		LOG_TEXT("binary", image->path), LOG_INT("time", adoption->again + 1));
	nanosleep(&pause, NULL);
	result = execute_again(adoption, image);
	log_event(LOG_LEVEL_ERROR, "upgrade: the new binary cannot be executed again", LOG_ERRNO("reason", result));
}

void adoption_done(struct adoption *adoption)
{
	free(adoption->data);
	adoption->data = NULL;
	adoption->readable = false;
	adoption->there = false;
}
