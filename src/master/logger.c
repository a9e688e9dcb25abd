/* SPDX-License-Identifier: MIT */
/*
 * Keeps a logger process (base/logger.h). It may die, or hang on a receiver; neither costs more than lines.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "base/title.h"
#include "master/adopt.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "policy/deadline.h"

static const struct backoff_rules logger_backoff = { .min_ms = 100, .max_ms = 30000 };

/* A logger that has lived this long starts the backoff from the beginning. */
#define LOGGER_HEALTHY_MS 10000
/* How long one that is to be replaced may write what is queued: LOGGER_LEAVE_MS, and some time to get to that. */
#define LOGGER_CHANGE_MS 2000
/* How long the end of the daemon waits for what is queued to be written. */
#define LOGGER_STOP_MS 1000

/* What the child is given: it does not have the master's state. */
struct logger_start {
	struct logger_config config;
	struct logger_channel channel;
};

static void logger_entry(void *argument)
{
	struct logger_start *start = argument;

	title_set("brood: logger");
	logger_main(&start->config, &start->channel);
}

static void logger_spawn(struct master *master, uint64_t now_ms)
{
	struct logger_process *logger = &master->logger;
	struct logger_start start = { .config = logger->config, .channel = logger->channel };
	pid_t pid = spawn(logger_entry, &start);

	if (pid < 0) {
		logger->backoff = backoff_next(&logger_backoff, logger->backoff, now_ms);
		if (!logger->fork_failing) /* queued, as all lines are meanwhile */
			log_event(LOG_LEVEL_ERROR, "cannot start the logger, and will try again",
				LOG_ERRNO("reason", pid));
		logger->fork_failing = true;
		return;
	}
	logger->fork_failing = false;
	logger->pid = pid;
	logger->started_ms = now_ms;
	children_add(&master->children, &(struct child){ .pid = pid, .kind = CHILD_LOGGER });
}

static struct logger_config logger_configure(const struct master *master, const struct config *config)
{
	struct logger_config logger = {
		.file = config->log_target,
		.format = config->log_format,
		.access_files = (const char *const *)config->access_files,
		.access_count = config->access_count,
		.detached = master->options->detached,
	};

	if (log_target_parse(config->log_target, &logger.target) < 0)
		logger.target = LOG_TARGET_AUTO; /* the configuration has been checked */
	logger.target = log_target_resolve(logger.target, logger.detached);
	return logger;
}

int logger_process_prepare(struct master *master)
{
	struct logger_process *logger = &master->logger;
	const char *path = NULL;
	int result;

	logger->config = logger_configure(master, master->config);
	logger->keeps_terminal = logger->config.target == LOG_TARGET_STDERR;
	result = logger_check(&logger->config, &path);
	if (result < 0) {
		log_event(LOG_LEVEL_ERROR, "cannot write the log", LOG_TEXT("file", path), LOG_ERRNO("reason", result));
		return result == -EACCES || result == -EPERM ? EXIT_STATUS_PERMISSION : EXIT_STATUS_SYSTEM;
	}
	result = adopt_logger_channel(master) ? 0 : logger_channel_init(&logger->channel);
	if (result < 0) {
		log_event(LOG_LEVEL_ERROR, "cannot make the log's channel", LOG_ERRNO("reason", result));
		return EXIT_STATUS_SYSTEM;
	}
	return EXIT_STATUS_OK;
}

void logger_process_start(struct master *master)
{
	log_connect(master->logger.channel.write_fd, master->logger.channel.dropped);
	if (!adopt_logger(master, clock_monotonic_ms()))
		logger_spawn(master, clock_monotonic_ms());
}

/* A worker that was taken over must not silence all others. */
static void renew_channel(struct logger_process *logger)
{
	int result;

	if (!logger_channel_is_shut(&logger->channel))
		return;
	result = logger_channel_renew(&logger->channel);
	if (result < 0)
		return; /* there is no way to say it; it is tried again at the death of the next logger */
	log_event(LOG_LEVEL_ERROR, "a worker has shut down the log's socket: a new one is for new workers");
}

/* It has left since it was told to, or since it took too long for that. */
static bool left_for_another(const struct logger_process *logger, const struct death *death)
{
	return logger->changing && (death->by_signal ? death->code == SIGKILL : death->code == 0);
}

static void note_failure(struct logger_process *logger, const struct death *death, uint64_t now_ms)
{
	if (now_ms - logger->started_ms >= LOGGER_HEALTHY_MS)
		logger->backoff.level = 0;
	logger->backoff = backoff_next(&logger_backoff, logger->backoff, now_ms);
	report_logger_death(logger, death, now_ms); /* queued, for the next one to write */
}

void logger_process_died(struct master *master, const struct death *death, uint64_t now_ms)
{
	struct logger_process *logger = &master->logger;

	renew_channel(logger);
	if (!left_for_another(logger, death))
		note_failure(logger, death, now_ms);
	logger->changing = false;
	logger->pid = 0;
}

uint64_t logger_process_check(struct master *master, uint64_t now_ms)
{
	struct logger_process *logger = &master->logger;

	if (logger->pid == 0 && !backoff_holds(&logger->backoff, now_ms))
		logger_spawn(master, now_ms);
	if (logger->changing && deadline_passed(logger->kill_ms, now_ms)) {
		kill(logger->pid, SIGKILL);
		logger->kill_ms = DEADLINE_NONE;
	}
	if (logger->changing)
		return logger->kill_ms;
	return logger->pid == 0 ? logger->backoff.until_ms : DEADLINE_NONE;
}

int logger_process_try(const struct master *master, const struct config *config, const char **ret_path)
{
	const struct logger_config wanted = logger_configure(master, config);

	/* A detached master has given its standard error up for good, unless the log was there. */
	if (wanted.target == LOG_TARGET_STDERR && wanted.detached && !master->logger.keeps_terminal) {
		*ret_path = config->log_target;
		return -ENOTTY;
	}
	return logger_check(&wanted, ret_path);
}

static bool configs_are_equal(const struct logger_config *a, const struct logger_config *b)
{
	if (a->target != b->target || a->format != b->format || strcmp(a->file, b->file) != 0 ||
		a->access_count != b->access_count)
		return false;
	for (size_t i = 0; i < a->access_count; i++)
		if (strcmp(a->access_files[i], b->access_files[i]) != 0)
			return false;
	return true;
}

void logger_process_replace(struct master *master, uint64_t now_ms)
{
	struct logger_process *logger = &master->logger;

	/* One that is leaving already is asked no second time: it would end at once. */
	if (!logger->changing)
		kill(logger->pid, SIGTERM);
	logger->changing = true;
	logger->kill_ms = deadline_after(now_ms, LOGGER_CHANGE_MS);
}

void logger_process_change(struct master *master, const struct config *config, uint64_t now_ms)
{
	struct logger_process *logger = &master->logger;
	const struct logger_config before = logger->config;

	/* The texts are the configuration's, which may be gone soon. */
	logger->config = logger_configure(master, config);
	if (logger->pid == 0 || configs_are_equal(&before, &logger->config))
		return;
	logger_process_replace(master, now_ms);
}

void logger_process_reopen(const struct master *master)
{
	if (master->logger.pid != 0)
		kill(master->logger.pid, SIGUSR1);
}

/* Waits until PID has ended or TIMEOUT has passed; SIGCHLD comes by the descriptor of signals. */
static bool wait_for_end(struct master *master, pid_t pid, uint64_t timeout_ms)
{
	uint64_t deadline_ms = deadline_after(clock_monotonic_ms(), timeout_ms);

	for (;;) {
		struct pollfd signals = { .fd = master->signals.fd, .events = POLLIN };
		struct signal_event event;
		uint64_t now_ms = clock_monotonic_ms();

		if (waitpid(pid, NULL, WNOHANG) != 0)
			return true;
		if (deadline_passed(deadline_ms, now_ms))
			return false;
		poll(&signals, 1, deadline_timeout(deadline_ms, now_ms));
		while (signals_next(&master->signals, &event))
			;
	}
}

void logger_process_stop(struct master *master)
{
	struct logger_process *logger = &master->logger;

	log_connect(-1, NULL);
	if (logger->pid != 0) {
		kill(logger->pid, SIGTERM);
		if (!wait_for_end(master, logger->pid, LOGGER_STOP_MS)) {
			kill(logger->pid, SIGKILL);
			wait_for_end(master, logger->pid, LOGGER_STOP_MS);
		}
	} else if (logger->channel.read_fd >= 0)
		log_write_queued(logger->channel.read_fd);
	logger->pid = 0;
	logger_channel_done(&logger->channel);
}
