/* SPDX-License-Identifier: MIT */
#include "master/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/signals.h"
#include "build_config.h"
#include "master/adoption.h"
#include "master/checking.h"
#include "master/hand_over.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "policy/deadline.h"
#include "worker/exec.h"

/* ---- verdicts ---- */

static void refuse(struct master *master, const char *format, ...) ATTR_PRINTF(2, 3);

static void refuse(struct master *master, const char *format, ...)
{
	struct upgrade *upgrade = &master->upgrade;
	char reason[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	upgrade->phase = UPGRADE_IDLE;
	log_event(LOG_LEVEL_ERROR, "upgrade refused: this image goes on",
		LOG_TEXT("binary", master->options->image->path), LOG_TEXT("reason", reason));
	control_verdict(master, REQUEST_UPGRADE, upgrade->ticket, false, reason);
}

/* ---- the check, in the child ---- */

struct check_start {
	const struct image *image;
	pid_t parent;
	int state_fd;
	int output_fd;
};

/* Standard output and error are the pipe; the state keeps its number. */
static int check_setup(const struct check_start *start)
{
	int keep[] = { start->state_fd };
	int result = fd_set_cloexec(start->state_fd, false);

	setsid();
	if (result == 0)
		result = exec_standard(-1, start->output_fd, start->output_fd);
	if (result == 0)
		result = fd_close_others(STDERR_FILENO + 1, keep, ARRAY_SIZE(keep));
	if (result == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		result = -errno;
	return result == 0 && getppid() != start->parent ? -ESRCH : result;
}

static void check_entry(void *argument)
{
	static const char *const without[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
		"LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", STATE_VARIABLE, NULL };
	const struct check_start *start = argument;
	char state[16];
	int result = check_setup(start);

	log_connect(-1, NULL);
	snprintf(state, sizeof(state), "%d", start->state_fd);
	if (result == 0) {
		char **arguments = image_arguments(start->image, ADOPT_CHECK_OPTION, state);
		char **environment = image_environment(start->image, without, NULL);

		exec_reset_signals();
		result = arguments == NULL || environment == NULL ? -ENOMEM
								  : image_execute(start->image, arguments, environment);
	}
	dprintf(STDERR_FILENO, "cannot be executed: %s\n", log_strerror(result));
	_exit(ADOPT_CHECK_EXIT_EXEC);
}

/* ---- the check, from outside ---- */

/* The state of now, for the new image to read: its records differ from those to come by numbers only. */
static int make_state(const struct master *master)
{
	struct state_writer writer;
	int result;

	state_writer_init(&writer);
	result = hand_over_write(master, &writer);
	if (result == 0)
		result = state_memfd_make(writer.data, writer.size);
	state_writer_done(&writer);
	return result;
}

static int check_start(struct master *master, uint64_t now_ms)
{
	struct checker *checker = &master->upgrade.checker;
	FD_AUTO int state_fd = make_state(master);
	FD_AUTO int reading = -1;
	FD_AUTO int writing = -1;
	struct check_start start;
	pid_t pid;
	int result;

	if (state_fd < 0)
		return state_fd;
	result = fd_pipe(&reading, &writing);
	if (result < 0)
		return result;
	start = (struct check_start){
		.image = master->options->image,
		.parent = master->pid,
		.state_fd = state_fd,
		.output_fd = writing,
	};
	pid = spawn(check_entry, &start);
	if (pid < 0)
		return pid;
	children_add(&master->children, &(struct child){ .pid = pid, .kind = CHILD_UPGRADE_CHECK });
	checker_done(checker);
	*checker = CHECKER_NONE;
	checker->pid = pid;
	checker->errors_fd = fd_steal(&reading);
	checker->deadline_ms = deadline_after(now_ms, UPGRADE_CHECK_MS);
	checker->timeout_ms = UPGRADE_CHECK_MS;
	if (checking_watch(master, checker, WATCH_UPGRADE) < 0)
		log_event(LOG_LEVEL_DEBUG, "the upgrade's check is not watched");
	return 0;
}

void upgrade_event(struct master *master)
{
	checking_hear(master, &master->upgrade.checker);
}

/* Whether the last line is the one that only this program says, and says which version it is. */
static bool takes_over(struct upgrade *upgrade)
{
	const char *text = upgrade->checker.text, *line = text;
	size_t size;

	if (text == NULL)
		return false;
	for (const char *end = strchr(text, '\n'); end != NULL; end = strchr(end + 1, '\n'))
		if (end[1] != '\0')
			line = end + 1;
	if (strncmp(line, ADOPT_CHECK_ANSWER, strlen(ADOPT_CHECK_ANSWER)) != 0)
		return false;
	line += strlen(ADOPT_CHECK_ANSWER);
	size = strcspn(line, "\n");
	if (size == 0 || size >= sizeof(upgrade->version))
		return false;
	snprintf(upgrade->version, sizeof(upgrade->version), "%.*s", (int)size, line);
	return true;
}

/* The words for what is no success. */
static const char *explain(enum checker_verdict verdict, int status)
{
	if (verdict == CHECKER_OVERDUE)
		return "the new binary's check takes too long";
	if (verdict == CHECKER_DIED)
		return "the new binary crashes";
	if (verdict == CHECKER_ACCEPTS)
		return "the new binary is none that can take over";
	switch (WEXITSTATUS(status)) {
	case EXIT_STATUS_CONFIG:
		return "the new binary refuses the configuration";
	case EXIT_STATUS_USAGE:
		return "the new binary does not know how to take over";
	case ADOPT_CHECK_EXIT_STATE:
		return "the new binary cannot read the state";
	case ADOPT_CHECK_EXIT_EXEC:
		return "the new binary cannot be executed";
	default:
		return "the new binary's check failed";
	}
}

void upgrade_reaped(struct master *master, int status, uint64_t now_ms)
{
	struct upgrade *upgrade = &master->upgrade;
	const struct config_origin origin = { .file = master->options->image->path };
	enum checker_verdict verdict;

	checking_unwatch(master, &upgrade->checker);
	verdict = checker_reaped(&upgrade->checker, &origin, status);
	upgrade->talk_by_ms = 0;
	if (upgrade->phase != UPGRADE_CHECKING) {
		/* it was abandoned */
	} else if (verdict == CHECKER_ACCEPTS && takes_over(upgrade)) {
		upgrade->phase = UPGRADE_CHECKED;
	} else {
		request_tell(master, REQUEST_UPGRADE, upgrade->ticket, LOG_LEVEL_ERROR, "upgrade check",
			upgrade->checker.text);
		refuse(master, "%s", explain(verdict, status));
	}
	checker_done(&upgrade->checker);
}

void upgrade_request(struct master *master, uint64_t now_ms)
{
	struct upgrade *upgrade = &master->upgrade;
	int result;

	upgrade->ticket = control_ticket(master);
	if (upgrade->phase != UPGRADE_IDLE) {
		log_event(LOG_LEVEL_NOTICE, "an upgrade is under way already");
		return;
	}
	if (upgrade->checker.pid != 0) {
		refuse(master, "the check of the one before has not ended yet");
		return;
	}
	if (master->phase != LIFE_SERVING) {
		refuse(master, "the daemon is %s", lifecycle_phase_name(master->phase));
		return;
	}
	result = image_look(master->options->image, &upgrade->file);
	if (result < 0) {
		refuse(master, "the new binary: %s", log_strerror(result));
		return;
	}
	result = check_start(master, now_ms);
	if (result < 0) {
		refuse(master, "the new binary cannot be checked: %s", log_strerror(result));
		return;
	}
	upgrade->phase = UPGRADE_CHECKING;
	log_event(LOG_LEVEL_NOTICE, "upgrade: the new binary is checked",
		LOG_TEXT("binary", master->options->image->path));
}

void upgrade_abandon(struct master *master)
{
	if (master->upgrade.phase == UPGRADE_IDLE)
		return;
	checker_stop(&master->upgrade.checker);
	refuse(master, "the daemon stops");
}

/* ---- executing it ---- */

/* Returns only if it fails. All signals are blocked, and stay so until the new image has adopted the children. */
static int execute_with(const struct master *master, const struct state_writer *writer)
{
	static const char *const without[] = { "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		STATE_VARIABLE, NULL };
	const struct image *image = master->options->image;
	FD_AUTO int state_fd = state_memfd_make(writer->data, writer->size);
	char **arguments, **environment;
	char variable[64];
	int result;

	if (state_fd < 0)
		return state_fd;
	snprintf(variable, sizeof(variable), "%s=%d", STATE_VARIABLE, state_fd);
	arguments = image_arguments(image, NULL, NULL);
	environment = image_environment(image, without, variable);
	result = arguments == NULL || environment == NULL ? -ENOMEM : fd_set_cloexec(state_fd, false);
	if (result == 0) {
		hand_over_keep(writer, true);
		result = image_execute(image, arguments, environment);
		hand_over_keep(writer, false);
	}
	free(arguments);
	free(environment);
	return result;
}

static void execute(struct master *master, uint64_t now_ms)
{
	struct upgrade *upgrade = &master->upgrade;
	struct state_writer writer;
	struct image_file file;
	int result = image_look(master->options->image, &file);

	if (result < 0 || !image_is_same(&file, &upgrade->file)) {
		refuse(master, "the new binary is another one than was checked");
		return;
	}
	/* What was said to this image is not said again. */
	pools_note_ready(master, now_ms);
	recycle_note_requests(master, now_ms);
	ack_read_all(master, now_ms);
	log_event(LOG_LEVEL_NOTICE, "upgrade: the new binary takes over", LOG_TEXT("from", BROOD_VERSION),
		LOG_TEXT("to", upgrade->version), LOG_TEXT("binary", master->options->image->path));
	state_writer_init(&writer);
	result = hand_over_write(master, &writer);
	if (result == 0)
		result = execute_with(master, &writer);
	state_writer_done(&writer);
	refuse(master, "the new binary cannot be executed: %s", log_strerror(result));
}

/* What the state cannot tell comes to its end before: a check that a client waits for too. A roll goes on in the new
 * image. */
static bool may_execute(const struct master *master)
{
	enum reload_stage stage = master->reload.stage;

	return master->survivors.left == 0 && master->check.checker.pid == 0 && !slow_is_looking(master) &&
	       (stage == RELOAD_STAGE_IDLE || stage == RELOAD_STAGE_ROLLING);
}

bool upgrade_is_imminent(const struct master *master)
{
	return master->upgrade.phase == UPGRADE_CHECKED && may_execute(master);
}

/* Answers come to their end, for a while: whoever sits there without a request holds up nothing. */
static bool lets_talk(struct master *master, uint64_t now_ms)
{
	struct upgrade *upgrade = &master->upgrade;

	if (!control_is_talking(master))
		return false;
	if (upgrade->talk_by_ms == 0)
		upgrade->talk_by_ms = deadline_after(now_ms, UPGRADE_TALK_MS);
	return !deadline_passed(upgrade->talk_by_ms, now_ms);
}

uint64_t upgrade_act(struct master *master, uint64_t now_ms)
{
	struct upgrade *upgrade = &master->upgrade;

	if (upgrade_is_imminent(master) && !nurseries_are_asked(master)) {
		if (lets_talk(master, now_ms))
			return upgrade->talk_by_ms;
		execute(master, now_ms);
	}
	checker_expire(&upgrade->checker, now_ms);
	return upgrade->checker.pid == 0 ? DEADLINE_NONE : upgrade->checker.deadline_ms;
}
