/* SPDX-License-Identifier: MIT */
/*
 * The phases of the master's life: prepare, bind, start, run, stop. There is one wait, with one timeout, from the
 * nearest of all deadlines.
 */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/title.h"
#include "build_config.h"
#include "master/adopt.h"
#include "master/master_private.h"
#include "master/scale.h"
#include "policy/deadline.h"

/* Signals that are taken before all else is looked at again: whoever floods the master with them does not stop it. */
#define SIGNALS_A_TURN 32

/* Of the descriptors that have something to say, so many are read before deaths and deadlines are looked at again. */
#define EVENTS_A_TURN 64

/* The master's own children beside workers: the logger, a check of the configuration for a client, one for a reload,
 * that of an upgrade, and a look at slow requests; and what makes workers. */
#define MASTER_OWN_CHILDREN (5 + POOL_NURSERIES * POOLS_MAX)

/* ---- preparing ---- */

static int failed(const char *event, int error)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_ERRNO("reason", error));
	return EXIT_STATUS_SYSTEM;
}

static int take_pidfile(struct master *master)
{
	pid_t holder = 0;
	int result;

	if (master->config->pidfile[0] == '\0' || adopt_pidfile(master))
		return EXIT_STATUS_OK;
	result = pidfile_take(&master->pidfile, master->config->pidfile, &holder);
	if (result == 0)
		return EXIT_STATUS_OK;
	if (result == -EBUSY)
		log_event(LOG_LEVEL_ERROR, "already running", LOG_TEXT("pidfile", master->config->pidfile),
			LOG_INT("pid", holder));
	else
		log_event(LOG_LEVEL_ERROR, "cannot write the pid file", LOG_TEXT("pidfile", master->config->pidfile),
			LOG_ERRNO("reason", result));
	return result == -EACCES || result == -EPERM ? EXIT_STATUS_PERMISSION : EXIT_STATUS_SYSTEM;
}

/* What an ordinary user cannot do is said before anything is bound. */
static int check_privileges(const struct config *config)
{
	for (size_t i = 0; i < config->pool_count; i++) {
		const struct pool_config *pool = &config->pools[i];
		const struct identity *identity = &pool->identity;

		if (!identity->change || geteuid() == 0)
			continue;
		if (identity->uid == geteuid() && identity->gid == getegid())
			continue;
		log_event(LOG_LEVEL_ERROR, "only root can run workers as another user or group",
			LOG_TEXT("pool", pool->name), LOG_TEXT("user", identity->user),
			LOG_TEXT("group", identity->group));
		return EXIT_STATUS_PERMISSION;
	}
	return EXIT_STATUS_OK;
}

/* The soft limit of descriptors is often 1024, which is for programs that use select(2): see RLIMIT_NOFILE,
 * setrlimit(2). */
static void raise_descriptor_limit(struct master *master)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	master->soft_descriptors = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		master->soft_descriptors = 0;
}

/* A unit may protect the master from the OOM killer (OOMScoreAdjust=); its workers are not to be protected. */
static bool oom_score_is_protected(void)
{
	FD_AUTO int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
	char first = '0';

	return fd >= 0 && read(fd, &first, 1) == 1 && first == '-';
}

/* tty(4): one that has no controlling terminal cannot open it. */
static bool has_controlling_terminal(void)
{
	FD_AUTO int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

	return fd >= 0;
}

int master_watch(const struct master *master, int fd, const struct watch *watch)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = watch_pack(watch) };

	return epoll_ctl(master->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int master_watch_once(const struct master *master, int fd, const struct watch *watch)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = watch_pack(watch) };

	return epoll_ctl(master->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void master_unwatch(const struct master *master, int fd)
{
	epoll_ctl(master->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void master_watch_for(const struct master *master, int fd, const struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = watch_pack(watch) };

	epoll_ctl(master->epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

static int open_events(struct master *master)
{
	static const int handled[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGCHLD,
		0 };
	int result = signals_open(&master->signals, handled);

	if (result < 0)
		return failed("cannot receive signals", result);
	signal(SIGPIPE, SIG_IGN);
	if (!adopt_wake_fd(master))
		master->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	master->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	master->dead_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (master->wake_fd < 0 || master->epoll_fd < 0 || master->dead_fd < 0)
		return failed("cannot wait for events", -errno);
	result = master_watch(master, master->signals.fd, &(struct watch){ .kind = WATCH_SIGNALS });
	if (result == 0)
		result = master_watch(master, master->wake_fd, &(struct watch){ .kind = WATCH_WAKE });
	return result < 0 ? failed("cannot wait for events", result) : EXIT_STATUS_OK;
}

static int make_board(struct master *master)
{
	int result = adopt_board(master);

	return result == -ENODATA ? survivors_make_board(master, master->options->inherited) : result;
}

static int make_tables(struct master *master)
{
	int result = output_init(master);

	if (result == 0)
		result = make_board(master);
	if (result == 0)
		result = pools_init(master);
	if (result == 0)
		result = children_init(&master->children, master->places + MASTER_OWN_CHILDREN);
	if (result == 0)
		atomic_store_explicit(&master->board.header->generation, master->generation, memory_order_relaxed);
	return result < 0 ? failed("cannot make the tables of workers", result) : EXIT_STATUS_OK;
}

static void set_title(const struct master *master)
{
	char title[512];

	snprintf(title, sizeof(title), "brood: master %s", master->config->file);
	title_set(title);
}

/*
 * A detached master leaves the terminal once it has nothing more to say there, and before it has children, who would
 * hold it open.
 */
static int leave_terminal(const struct master *master)
{
	bool keep_stderr = master->logger.config.target == LOG_TARGET_STDERR;
	FD_AUTO int null = -1;

	if (!master->options->detached)
		return EXIT_STATUS_OK;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Nor does it hold the directory that it was started in. */
	if (chdir("/") < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		(!keep_stderr && dup2(null, STDERR_FILENO) < 0))
		return failed("cannot leave the terminal", -errno);
	return EXIT_STATUS_OK;
}

/* What only pools of programs need. */
static int prepare_programs(struct master *master)
{
	int result = programs_prepare(master);

	return result < 0 ? failed("cannot open the socket for acknowledgements", result) : EXIT_STATUS_OK;
}

static int bind_listeners(struct master *master)
{
	int result = adopt_listeners(master);
	int status = result < 0 ? failed("cannot take over a listener", result) : bind_all(master);

	/* Another image, which finds what this one has left of the state, closes them by itself. */
	if (status == EXIT_STATUS_OK && !adopt_may_again(master))
		adopt_close_unused(master);
	return status;
}

static int open_control(struct master *master)
{
	adopt_control(master);
	return control_open(master);
}

static int prepare(struct master *master)
{
	int status = open_events(master);

	if (status == EXIT_STATUS_OK)
		status = check_privileges(master->config);
	if (status == EXIT_STATUS_OK)
		status = take_pidfile(master);
	if (status == EXIT_STATUS_OK)
		status = make_tables(master);
	if (status == EXIT_STATUS_OK)
		status = bind_listeners(master);
	if (status == EXIT_STATUS_OK)
		status = prepare_programs(master);
	if (status == EXIT_STATUS_OK)
		status = open_control(master);
	if (status == EXIT_STATUS_OK)
		status = logger_process_prepare(master);
	if (status == EXIT_STATUS_OK)
		status = leave_terminal(master);
	return status;
}

/* ---- running ---- */

static void handle_signal(struct master *master, const struct signal_event *event, uint64_t now_ms)
{
	log_event(event->number == SIGCHLD ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "signal",
		LOG_TEXT("name", signals_name(event->number)), LOG_INT("sender", event->sender),
		LOG_INT("uid", event->sender_uid));
	switch (event->number) {
	case SIGTERM:
		lifecycle_event(master, LIFE_STOP, now_ms);
		break;
	case SIGINT:
		lifecycle_event(master, LIFE_INTERRUPT, now_ms);
		break;
	case SIGQUIT:
		lifecycle_event(master, LIFE_QUIT, now_ms);
		break;
	case SIGHUP:
		reload_request(master);
		break;
	case SIGUSR1:
		logger_process_reopen(master);
		break;
	case SIGUSR2:
		upgrade_request(master, now_ms);
		break;
	case SIGTTIN:
		scale_all(master, +1);
		break;
	case SIGTTOU:
		scale_all(master, -1);
		break;
	default: /* SIGCHLD: every turn of the loop reaps */
		break;
	}
}

/*
 * Whether workers have written to the eventfd since the last look. RWF_NOWAIT belongs to the call; O_NONBLOCK belongs
 * to the open file, and a worker, which shares it, could clear it and so stop the master for ever.
 */
static bool was_woken(const struct master *master)
{
	eventfd_t wakes;
	const struct iovec buffer = { .iov_base = &wakes, .iov_len = sizeof(wakes) };

	return preadv2(master->wake_fd, &buffer, 1, -1, RWF_NOWAIT) == (ssize_t)sizeof(wakes);
}

/* Whether it is of the worker that lives there, and not of one before it (master/watch.h). */
static bool watch_is_current(const struct master *master, const struct watch *watch)
{
	const struct worker *worker;

	if (watch->pool >= master->pool_count || watch->slot >= master->pools[watch->pool].policy.rules.capacity)
		return false;
	worker = &master->pools[watch->pool].workers[watch->slot];
	return worker->pid != 0 && worker->serial == watch->serial;
}

/* What a descriptor of a worker's has to say. Signals, wake-ups and deaths are looked for at every turn. */
static void handle_event(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	switch (watch->kind) {
	case WATCH_STDOUT:
	case WATCH_STDERR:
		if (watch_is_current(master, watch))
			output_event(master, watch, now_ms);
		break;
	case WATCH_LEFT:
		output_event(master, watch, now_ms);
		break;
	case WATCH_NOTIFY:
		if (watch_is_current(master, watch))
			program_notified(master, &master->pools[watch->pool], watch->slot, now_ms);
		break;
	case WATCH_CHECKER:
		reload_hear_checker(master);
		break;
	case WATCH_ACK_LISTENER:
		ack_accept(master, now_ms);
		break;
	case WATCH_ACK:
		ack_read(master, watch, now_ms);
		break;
	case WATCH_CHECK:
		check_hear(master);
		break;
	case WATCH_UPGRADE:
		upgrade_event(master);
		break;
	case WATCH_CONTROL_LISTENER:
		control_accept(master, now_ms);
		break;
	case WATCH_CONTROL:
		control_event(master, watch, now_ms);
		break;
	case WATCH_DEMAND:
		sizing_demand(master, watch, now_ms);
		break;
	case WATCH_SURVIVOR:
		survivors_event(master, watch->slot);
		break;
	default:
		break;
	}
}

/* Returns whether there may be more of them. */
static bool handle_signals_and_deaths(struct master *master, uint64_t now_ms)
{
	struct signal_event event;

	for (int i = 0; i < SIGNALS_A_TURN && signals_next(&master->signals, &event); i++)
		handle_signal(master, &event, now_ms);
	nurseries_listen(master, 0, now_ms);
	if (was_woken(master)) {
		sizing_woken(master);
		pools_note_ready(master, now_ms);
		recycle_note_requests(master, now_ms);
	}
	return reap_all(master, now_ms);
}

/* Everything that is due. Returns when to look again at the latest. */
static uint64_t act(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = lifecycle_check(master, now_ms);

	wake_ms = deadline_earlier(wake_ms, pools_note_quiet(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, pools_check_requests(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, recycle_check_memory(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, slow_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, reload_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, sizing_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, pools_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, degraded_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, nurseries_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, output_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, ack_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, control_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, check_act(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, logger_process_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, survivors_check(master, now_ms));
	wake_ms = deadline_earlier(wake_ms, leavers_act(&master->leavers, now_ms));
	wake_ms = deadline_earlier(wake_ms, upgrade_act(master, now_ms));
	report_status(master, now_ms);
	wake_ms = deadline_earlier(wake_ms, store_flush(&master->store, &master->notify, now_ms));
	return deadline_earlier(wake_ms, notify_flush(&master->notify, now_ms));
}

/* ---- gaps ---- */

/* Whoever has a deadline has as much more time, and systemd hears at once that its daemon goes on. */
static void note_gap(struct master *master, uint64_t now_ms)
{
	uint64_t gap_ms = clock_skipped_ms() - master->skipped_ms;

	if (gap_ms == 0)
		return;
	master->skipped_ms += gap_ms;
	log_event(LOG_LEVEL_NOTICE, "the loop stood still: all deadlines move by that",
		LOG_INT("gap_ms", (int64_t)gap_ms));
	pools_move_requests(master, gap_ms);
	notify_hurry(&master->notify, now_ms);
}

/* While there are processes with deadlines it looks at the clock often enough to notice that it was stopped. */
static bool keeps_pace(const struct master *master, int timeout_ms)
{
	bool calm = master->phase == LIFE_SERVING && master->reload.stage == RELOAD_STAGE_IDLE;

	return timeout_ms > CLOCK_PACE_MS && (!calm || pools_are_timed(master));
}

/* Until something comes, or WAKE. */
static int await_events(const struct master *master, struct epoll_event *events, uint64_t wake_ms)
{
	for (;;) {
		int timeout_ms = deadline_timeout(wake_ms, clock_monotonic_ms());
		bool in_steps = keeps_pace(master, timeout_ms);
		int wait_ms = in_steps ? CLOCK_PACE_MS : timeout_ms;
		int count;

		if (clock_skipped_ms() != master->skipped_ms)
			return 0;
		clock_announce_wait(wait_ms < 0 ? UINT64_MAX : (uint64_t)wait_ms);
		count = epoll_wait(master->epoll_fd, events, EVENTS_A_TURN, wait_ms);
		if (count != 0 || !in_steps)
			return count;
	}
}

static void run(struct master *master)
{
	struct epoll_event events[EVENTS_A_TURN];
	int count = 0;

	while (master->phase != LIFE_GONE) {
		uint64_t now_ms = clock_monotonic_ms();
		uint64_t wake_ms;
		bool more;

		note_gap(master, now_ms);
		/* First what programs have said: it may explain the deaths. */
		for (int i = 0; i < count; i++) {
			const struct watch watch = watch_unpack(events[i].data.u64);

			handle_event(master, &watch, now_ms);
		}
		more = handle_signals_and_deaths(master, now_ms);
		wake_ms = act(master, now_ms);
		if (more)
			wake_ms = now_ms;
		if (master->phase == LIFE_GONE)
			break;
		count = await_events(master, events, wake_ms);
	}
}

/* ---- the end ---- */

static void release_pidfile(struct master *master)
{
	int result = pidfile_release(&master->pidfile);

	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot remove the pid file", LOG_TEXT("pidfile", master->config->pidfile),
			LOG_ERRNO("reason", result));
}

static void clean_up(struct master *master)
{
	bind_close_all(master);
	ack_close(master);
	check_done(master);
	slow_done(master);
	control_close(master);
	release_pidfile(master);
	/* From here on there is nothing to say. */
	logger_process_stop(master);
	notify_flush(&master->notify, clock_monotonic_ms());
	notify_done(&master->notify);
	store_done(&master->store);
	reload_done(master);
	pools_done(master);
	output_done(master);
	children_done(&master->children);
	survivors_done(master);
	checker_done(&master->upgrade.checker);
	leavers_done(&master->leavers);
	board_done(&master->board);
	signals_close(&master->signals);
	fd_close(&master->epoll_fd);
	fd_close(&master->wake_fd);
	fd_close(&master->dead_fd);
}

/* What another image of this process has left, before anything is heard: a stop that waits finds the daemon serving. */
static void take_over(struct master *master)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (master->options->adoption == NULL || !master->options->adoption->there)
		return;
	adopt_close_unused(master);
	adopt_workers(master, now_ms);
	adopt_report(master);
	lifecycle_check(master, now_ms);
	/* Workers are still of the image before; and the file may say something else by now. */
	reload_request_upgraded(master);
}

/* As another image of this process, where it is one. */
static void start_again(const struct master_options *options)
{
	if (options->adoption != NULL)
		adoption_again(options->adoption, options->image);
}

static void guard_clock(void)
{
	int result = clock_guard();

	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "gaps in the master's time will not be noticed",
			LOG_ERRNO("reason", result));
}

static void live(struct master *master)
{
	notify_init(&master->notify, clock_monotonic_ms());
	raise_descriptor_limit(master);
	master->reset_oom_score = oom_score_is_protected();
	master->has_terminal = has_controlling_terminal();
	reload_init(master);
	adopt_master(master);
	master->exit_status = prepare(master);
	if (master->exit_status == EXIT_STATUS_OK) {
		store_flush(&master->store, &master->notify, clock_monotonic_ms());
		set_title(master);
		logger_process_start(master);
		report_start(master);
		survivors_begin(master, clock_monotonic_ms());
		take_over(master);
		guard_clock();
		run(master);
		clock_unguard();
		log_event(LOG_LEVEL_NOTICE, "stopped", LOG_INT("exit_status", master->exit_status));
	} else {
		start_again(master->options);
		bind_leave_stored(master);
	}
	clean_up(master);
}

int master_run(const struct config *config, const struct master_options *options)
{
	struct master *master = memory_unforked(1, sizeof(*master));
	int status;

	if (master == NULL) {
		status = failed("cannot start", ENOMEM);
		start_again(options);
		return status;
	}
	*master = (struct master){
		.config = config,
		.places = pools_places(config),
		.options = options,
		.pid = getpid(),
		.pidfile = { .fd = -1 },
		.signals = { .fd = -1 },
		.epoll_fd = -1,
		.wake_fd = -1,
		.dead_fd = -1,
		.ack = { .fd = -1 },
		.control = CONTROL_NONE,
		.check = CHECK_NONE,
		.upgrade = { .checker = CHECKER_NONE },
		.board = { .fd = -1 },
		.logger = { .channel = LOGGER_CHANNEL_NONE },
		.phase = LIFE_STARTING,
		.generation = 1,
		.stop_deadline_ms = DEADLINE_NONE,
		.drain_check_ms = DEADLINE_NONE,
	};
	live(master);
	status = master->exit_status;
	memory_unforked_free(master, 1, sizeof(*master));
	return status;
}
