/* SPDX-License-Identifier: MIT */
#include "master/adoption.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

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

/* From now on they are as all others: no program gets them that is not given them. */
static void close_on_exec(const struct adoption *adoption)
{
	struct state_reader reader;
	struct state_record record;

	if (adoption_reader(adoption, &reader) < 0)
		return;
	while (state_read(&reader, &record) == 1) {
		int fds[STATE_DESCRIPTORS_MAX];
		size_t count = state_descriptors(&record, fds);

		for (size_t i = 0; i < count; i++)
			fd_set_cloexec(fds[i], true);
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

static int parse_fd(const char *text)
{
	char *end;
	long fd;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	fd = strtol(text, &end, 10);
	return errno == 0 && *end == '\0' && fd <= INT_MAX ? (int)fd : -1;
}

void adoption_take(struct adoption *adoption)
{
	const char *text = getenv(STATE_VARIABLE);
	FD_AUTO int fd = text == NULL ? -1 : parse_fd(text);

	*adoption = (struct adoption){ .there = text != NULL, .channel = LOGGER_CHANNEL_NONE };
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
	close_on_exec(adoption);
	take_logger(adoption);
}

void adoption_done(struct adoption *adoption)
{
	free(adoption->data);
	adoption->data = NULL;
	adoption->readable = false;
	adoption->there = false;
}
