/* SPDX-License-Identifier: MIT */
#include "master/slow.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/title.h"
#include "look/system_call.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "policy/deadline.h"
#include "worker/connection.h"
#include "worker/exec.h"

/* Where the processor is busy, a look at eight workers takes some 10 ms. */
#define LOOK_MS 2000
/* The child's own, should the master have become another image meanwhile. */
#define ALARM_S 5

static size_t results_size(void)
{
	return SLOW_BATCH * sizeof(struct look_result);
}

/* ---- the child ---- */

struct look_start {
	pid_t parent;
	size_t count;
	struct look_order orders[SLOW_BATCH];
	struct look_result *results;
};

/* It holds nothing open of what is the master's: should it hang, no listener and no pipe hangs with it. */
static void look_entry(void *argument)
{
	const struct look_start *start = argument;

	setpgid(0, 0);
	exec_reset_signals();
	log_connect(-1, NULL);
	title_set("brood: looking at slow requests");
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != start->parent)
		_exit(1);
	alarm(ALARM_S);
	if (fd_close_others(STDERR_FILENO + 1, NULL, 0) < 0)
		_exit(1);
	for (size_t i = 0; i < start->count; i++)
		look_at(&start->orders[i], &start->results[i]);
	_exit(0);
}

/* ---- telling ---- */

/* What is said of a right that is missing is the same for all. */
static const char *why_not(int error, char *buffer, size_t size)
{
	if (error == -EPERM || error == -EACCES)
		return "no right to look: it takes CAP_SYS_PTRACE";
	if (error == -ENOENT)
		return "the kernel does not tell where a process is";
	if (error == -ENOTSUP)
		return "stacks are not read on this kind of machine";
	if (error == -EAGAIN)
		return "it does not keep still";
	if (error == -ESRCH)
		return "it has ended meanwhile";
	snprintf(buffer, size, "%s", log_strerror(error));
	return buffer;
}

struct entry {
	struct log_field fields[12];
	size_t count;
	char call[64];
	char look[160];
	struct look_result result;
};

static void add(struct entry *entry, struct log_field field)
{
	entry->fields[entry->count++] = field;
}

static void add_call(struct entry *entry)
{
	long number = entry->result.system_call;
	const char *name = system_call_name(number);

	if (number < 0)
		snprintf(entry->call, sizeof(entry->call), "none");
	else
		snprintf(entry->call, sizeof(entry->call), "%s (%ld)", name != NULL ? name : "unknown", number);
	add(entry, LOG_TEXT("system_call", entry->call));
}

/* Of a process that runs nothing more is known. */
static void add_place(struct entry *entry, enum look_stage stage)
{
	const struct look_result *result = &entry->result;
	bool running = stage >= LOOK_KNOWS_CALL && result->call_error == 0 && result->is_running;

	add(entry, LOG_TEXT("state", running ? "running" : look_state_name(result->state)));
	add(entry, LOG_INT("cpu_ms", (int64_t)result->cpu_ms));
	if (!running && result->kernel[0] != '\0')
		add(entry, LOG_TEXT("kernel", result->kernel));
	if (running || result->state == '\0')
		return;
	if (result->call_error < 0) {
		add(entry, LOG_TEXT("look", why_not(result->call_error, entry->look, sizeof(entry->look))));
		return;
	}
	if (stage >= LOOK_KNOWS_CALL)
		add_call(entry);
	if (stage == LOOK_DONE && result->frames_error < 0)
		add(entry, LOG_TEXT("look", why_not(result->frames_error, entry->look, sizeof(entry->look))));
	else if (stage == LOOK_DONE && result->frames[0] != '\0')
		add(entry, LOG_TEXT("frames", result->frames));
}

/* RESULT, of which the child may be writing the rest, is copied; INCOMPLETE says why there is no more of it. */
static void tell(const struct slow_request *request, const struct look_result *result, const char *incomplete)
{
	static struct entry entry;
	enum look_stage stage =
		result == NULL ? LOOK_NOT_BEGUN : atomic_load_explicit(&result->stage, memory_order_acquire);

	memset(&entry, 0, sizeof(entry));
	if (result != NULL)
		memcpy(&entry.result, result, sizeof(entry.result));
	entry.result.kernel[LOOK_KERNEL_MAX - 1] = '\0';
	entry.result.frames[LOOK_FRAMES_MAX - 1] = '\0';
	add(&entry, LOG_TEXT("pool", request->name));
	add(&entry, LOG_INT("slot", request->slot));
	add(&entry, LOG_INT("pid", request->pid));
	add(&entry, LOG_TEXT("peer", request->peer));
	add(&entry, LOG_INT("elapsed_ms", (int64_t)(request->found_us - request->begin_us) / 1000));
	if (stage == LOOK_DONE && entry.result.has_moved_on)
		add(&entry, LOG_TEXT("look", "the request has ended meanwhile"));
	else if (stage >= LOOK_KNOWS_STATE)
		add_place(&entry, stage);
	if (stage != LOOK_DONE)
		add(&entry, LOG_TEXT("look", incomplete));
	log_write(LOG_LEVEL_WARNING, "slow request", entry.fields);
}

/* The worker that REQUEST is of; NULL: it is gone. */
static struct worker *worker_of(const struct master *master, const struct slow_request *request)
{
	const struct pool *pool = &master->pools[request->pool];
	struct worker *worker;

	if (pool->config == NULL || request->slot >= pool->policy.rules.capacity)
		return NULL;
	worker = &pool->workers[request->slot];
	return worker->pid == request->pid && worker->serial == request->serial ? worker : NULL;
}

/*
 * A worker writes state and time one after the other: between the two it looked as if it were busy since the beginning
 * of what was before. By now both are of one.
 */
static bool was_mistaken(const struct master *master, const struct slow_request *request)
{
	const struct worker *worker = worker_of(master, request);
	uint64_t changed_us;

	if (worker == NULL)
		return false;
	changed_us = atomic_load_explicit(&master->board.slots[worker->board_slot].changed_us, memory_order_relaxed);
	return changed_us != request->begin_us && changed_us <= request->found_us;
}

/* It comes again: the child has ended before its turn. */
static bool comes_again(struct master *master, const struct slow_request *request, const struct look_result *result)
{
	struct worker *worker = worker_of(master, request);
	struct slow_pool *slow;

	if (worker == NULL || atomic_load_explicit(&result->stage, memory_order_relaxed) != LOOK_NOT_BEGUN)
		return false;
	slow = &master->pools[request->pool].slow;
	worker->slow_us = 0;
	slow->next_ms = 0;
	slow_gate_return(&slow->gate);
	return true;
}

static void tell_all(struct master *master, const char *incomplete)
{
	struct slow *slow = &master->slow;
	bool any = slow->results != NULL &&
		   atomic_load_explicit(&slow->results[0].stage, memory_order_relaxed) != LOOK_NOT_BEGUN;

	for (size_t i = 0; i < slow->count; i++) {
		const struct slow_request *request = &slow->requests[i];
		const struct look_result *result = slow->results == NULL ? NULL : &slow->results[i];

		if (!was_mistaken(master, request) && !(any && comes_again(master, request, result)))
			tell(request, result, incomplete);
	}
	if (slow->results != NULL)
		munmap(slow->results, results_size());
	slow->results = NULL;
	slow->count = 0;
}

/* ---- finding ---- */

/* Whether its worker has a request under way, and since when. */
static bool find_begin(const struct master *master, const struct pool *pool, uint32_t slot, uint64_t *ret_begin_us)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);
	enum board_state state = board_slot_state(board_slot);

	if (worker_is_program(pool, slot))
		return false;
	*ret_begin_us = atomic_load_explicit(&board_slot->changed_us, memory_order_relaxed);
	return state == (worker_kind(pool, slot) == HANDLER_BECOMES ? BOARD_RUNNING : BOARD_BUSY);
}

static void add_request(
	struct master *master, const struct pool *pool, uint32_t slot, uint64_t begin_us, uint64_t now_us)
{
	struct slow_request *request = &master->slow.requests[master->slow.count++];

	*request = (struct slow_request){
		.pool = pool->index,
		.slot = slot,
		.place = pool->workers[slot].board_slot,
		.serial = pool->workers[slot].serial,
		.pid = pool->workers[slot].pid,
		.begin_us = begin_us,
		.found_us = now_us,
		.is_program = worker_kind(pool, slot) == HANDLER_BECOMES,
	};
	snprintf(request->name, sizeof(request->name), "%s", pool->config->name);
	report_peer(pool_board_slot(master, pool, slot), request->peer, sizeof(request->peer));
}

/* Returns false where there is no room for it now. */
static bool note_slow(
	struct master *master, struct pool *pool, uint32_t slot, uint64_t begin_us, uint64_t now_us, uint64_t now_ms)
{
	struct worker *worker = &pool->workers[slot];

	if (worker->slow_us == begin_us)
		return true;
	if (master->slow.count == SLOW_BATCH)
		return false;
	worker->slow_us = begin_us;
	pool->slow_count++;
	if (slow_gate_pass(&pool->slow.gate, now_ms))
		add_request(master, pool, slot, begin_us, now_us);
	return true;
}

static void look_for_slow(struct master *master, struct pool *pool, uint64_t now_ms)
{
	uint64_t now_us = clock_monotonic_us(), oldest_us = 0, begin_us;
	bool all = true;

	for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++) {
		if (pool->workers[slot].pid == 0 || !find_begin(master, pool, slot, &begin_us))
			continue;
		if (slow_is(begin_us, now_us, pool->slow.slow_after_ms))
			all &= note_slow(master, pool, slot, begin_us, now_us, now_ms);
		else if (oldest_us == 0 || begin_us < oldest_us)
			oldest_us = begin_us;
	}
	pool->slow.next_ms = all ? slow_next_look(oldest_us, now_us, pool->slow.slow_after_ms, now_ms) : now_ms;
}

static void tell_untold(struct pool *pool, uint64_t now_ms)
{
	uint32_t untold = slow_gate_take_untold(&pool->slow.gate, now_ms);

	if (untold > 0)
		log_event(LOG_LEVEL_WARNING, "more slow requests, which are not told one by one",
			LOG_TEXT("pool", pool->config->name), LOG_INT("count", untold));
}

static uint64_t pool_act(struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct slow_pool *slow = &pool->slow;

	tell_untold(pool, now_ms);
	if (slow->slow_after_ms != pool->config->slow_after_ms) {
		slow->slow_after_ms = pool->config->slow_after_ms;
		slow->next_ms = now_ms;
	}
	if (slow->slow_after_ms == 0)
		return slow_gate_due(&slow->gate);
	if (deadline_passed(slow->next_ms, now_ms))
		look_for_slow(master, pool, now_ms);
	return deadline_earlier(slow->next_ms, slow_gate_due(&slow->gate));
}

/* ---- looking ---- */

static int start_look(struct master *master, uint64_t now_ms)
{
	struct slow *slow = &master->slow;
	struct look_start start = { .parent = master->pid, .count = slow->count };
	void *results;
	pid_t looker;

	for (size_t i = 0; i < slow->count; i++)
		start.orders[i] = (struct look_order){
			.pid = slow->requests[i].pid,
			.parent = master->pid,
			.with_frames = !slow->requests[i].is_program,
			.outermost = (const void *)(uintptr_t)connection_serve,
			.mark = &master->board.slots[slow->requests[i].place].changed_us,
			.mark_value = slow->requests[i].begin_us,
		};
	results = mmap(NULL, results_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		return -errno;
	start.results = results;
	looker = spawn(look_entry, &start);
	if (looker < 0) {
		munmap(results, results_size());
		return looker;
	}
	children_add(&master->children, &(struct child){ .pid = looker, .kind = CHILD_LOOK });
	slow->pid = looker;
	slow->killed = false;
	slow->results = results;
	slow->deadline_ms = deadline_after(now_ms, LOOK_MS);
	return 0;
}

/* The child that does not come to an end, for whatever it waits there, is let go: with the next ones nobody looks. */
static void give_up(struct master *master)
{
	struct slow *slow = &master->slow;

	kill(slow->pid, SIGKILL);
	slow->killed = true;
	tell_all(master, "it did not end in time");
}

static void look(struct master *master, uint64_t now_ms)
{
	char text[160];
	int result;

	if (master->slow.pid != 0) {
		tell_all(master, "one before has not ended yet");
		return;
	}
	result = start_look(master, now_ms);
	if (result == 0)
		return;
	snprintf(text, sizeof(text), "cannot look: %s", log_strerror(result));
	tell_all(master, text);
}

uint64_t slow_act(struct master *master, uint64_t now_ms)
{
	struct slow *slow = &master->slow;
	uint64_t wake_ms = DEADLINE_NONE;

	if (slow->count > 0) {
		if (!deadline_passed(slow->deadline_ms, now_ms))
			return slow->deadline_ms;
		give_up(master);
	}
	FOR_EACH_POOL (master, pool)
		wake_ms = deadline_earlier(wake_ms, pool_act(master, pool, now_ms));
	if (slow->count > 0)
		look(master, now_ms);
	return slow->count > 0 ? slow->deadline_ms : wake_ms;
}

void slow_look_died(struct master *master, int status)
{
	struct slow *slow = &master->slow;
	char text[80];

	slow->pid = 0;
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "it died by signal %d (%s)", WTERMSIG(status),
			signals_name(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "it ended with exit status %d", WEXITSTATUS(status));
	tell_all(master, text);
}

bool slow_is_looking(const struct master *master)
{
	return master->slow.count > 0;
}

void slow_done(struct master *master)
{
	if (master->slow.pid != 0)
		kill(master->slow.pid, SIGKILL);
	if (master->slow.results != NULL)
		munmap(master->slow.results, results_size());
	master->slow = (struct slow){ .pid = 0 };
}
