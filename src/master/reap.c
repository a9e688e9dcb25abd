/* SPDX-License-Identifier: MIT */
/*
 * Deaths. SIGCHLD is a hint: one may stand for many, so all that can be waited for is.
 */
#include <errno.h>
#include <sys/wait.h>

#include "base/log.h"
#include "master/master_private.h"

/* Programs that leave children as fast as they can be reaped do not stop the master. */
#define DEATHS_A_TURN 256

/* Whether any worker of the pool has served a connection to its end: the scoreboard's counters, as far as they go. */
static uint64_t served_by(const struct board_slot *slot)
{
	uint64_t connections = atomic_load_explicit(&slot->connections, memory_order_relaxed);
	enum board_state state = board_slot_state(slot);
	bool serving = board_state_is_serving(state) && state != BOARD_RUNNING;

	return serving && connections > 0 ? connections - 1 : connections;
}

static bool pool_has_served(const struct master *master, const struct pool *pool)
{
	if (pool->policy.proven)
		return true;
	for (uint32_t i = 0; i < pool->policy.rules.capacity; i++)
		if (pool->workers[i].pid != 0 && served_by(pool_board_slot(master, pool, i)) > 0)
			return true;
	return false;
}

static struct death death_by_status(int status)
{
	return (struct death){
		.by_signal = WIFSIGNALED(status),
		.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		.dumped_core = WIFSIGNALED(status) && WCOREDUMP(status),
	};
}

static struct death death_of(const struct master *master, const struct pool *pool, uint32_t slot, int status)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);
	enum board_state state = board_slot_state(board_slot);
	struct death death = death_by_status(status);

	death.served = served_by(board_slot);
	death.serving = board_state_is_serving(state);
	/* Of a program the master itself writes the state, and knows better. */
	death.was_told = state == BOARD_LEAVING && !worker_is_program(pool, slot);
	death.accepts = worker_is_program(pool, slot);
	death.not_executed = state == BOARD_FAILED;
	death.of_our_signal = death.by_signal && death.code == pool->workers[slot].signal;
	death.pool_has_served = pool_has_served(master, pool);
	return death;
}

static void reap_logger(struct master *master, int status, uint64_t now_ms)
{
	const struct death death = death_by_status(status);

	logger_process_died(master, &death, now_ms);
}

static void note_death(struct master *master, struct pool *pool, uint32_t slot, const struct death *death,
	const struct death_verdict *verdict)
{
	enum recycle_cause cause = recycle_cause_of(verdict->reason);
	char how[80];

	report_death(master, pool, slot, death, verdict);
	if (cause != RECYCLE_CAUSES)
		pool->recycled[cause]++;
	report_how(death, verdict->before_ready, how, sizeof(how));
	reload_note_death(master, pool, slot, how);
	degraded_note_death(pool, slot, death, verdict, how);
	totals_add(pool->totals, pool_board_slot(master, pool, slot), verdict->kind);
}

static void reap_worker(struct master *master, const struct child *child, int status, uint64_t now_ms)
{
	struct pool *pool = &master->pools[child->pool];
	struct death death = death_of(master, pool, child->slot, status);
	struct death_verdict verdict;
	bool program = worker_is_program(pool, child->slot);

	/* It may have become ready, and served, just before it died. */
	pool_note_worker(master, pool, child->slot, now_ms);
	output_worker_died(master, pool, child->slot, now_ms);
	/* What waits for inetd's clients is replaced, whatever the load. */
	pool->sizing.wanted |= pool->policy.rules.sizing.kind != SIZING_FIXED && pool->config->kind != HANDLER_BECOMES;
	if (pool_policy_died(&pool->policy, child->slot, &death, now_ms, &verdict))
		note_death(master, pool, child->slot, &death, &verdict);
	pool_forget_worker(master, pool, child->slot);
	if (program)
		orphans_worker_died(master, child->pid, now_ms);
}

static void reap_foreign(struct master *master, pid_t pid)
{
	if (leavers_died(&master->leavers, pid))
		return;
	/* What its parent left behind; or, as PID 1 of a container, the master inherits orphans that were never its
	 * own. */
	log_event(LOG_LEVEL_DEBUG, "a foreign child has ended", LOG_INT("pid", pid));
	orphans_want_look(master);
}

/* PID has ended; -1: whoever has. Returns 0, or -1, where nobody has. */
static pid_t wait_for(pid_t pid, int *ret_status)
{
	return TEMP_FAILURE_RETRY(waitpid(pid, ret_status, WNOHANG));
}

/*
 * The next child that has ended. One that is a program is looked at before it is waited for: until then its number, and
 * its process group's, is nobody else's. Returns 0, or -1, where there is none.
 */
static pid_t next_dead(struct master *master, int *ret_status, uint64_t now_ms)
{
	siginfo_t info = { 0 };
	struct child child;

	/* There never was a pool of programs. */
	if (!master->orphans.programs)
		return wait_for(-1, ret_status);
	if (TEMP_FAILURE_RETRY(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)) < 0 || info.si_pid == 0)
		return 0;
	if (children_find(&master->children, info.si_pid, &child) && child.kind == CHILD_WORKER &&
		worker_is_program(&master->pools[child.pool], child.slot))
		program_ends(master, &master->pools[child.pool], child.slot, now_ms);
	return wait_for(info.si_pid, ret_status);
}

/* A worker of a nursery may have been born since the last look. */
static bool find_dead(struct master *master, pid_t pid, struct child *ret_child, uint64_t now_ms)
{
	if (children_remove(&master->children, pid, ret_child))
		return true;
	nurseries_listen(master, pid, now_ms);
	return children_remove(&master->children, pid, ret_child);
}

bool reap_all(struct master *master, uint64_t now_ms)
{
	struct child child;
	int status;
	pid_t pid = 0;

	for (int i = 0; i < DEATHS_A_TURN && (pid = next_dead(master, &status, now_ms)) > 0; i++) {
		if (!find_dead(master, pid, &child, now_ms))
			reap_foreign(master, pid);
		else if (child.kind == CHILD_LOGGER)
			reap_logger(master, status, now_ms);
		else if (child.kind == CHILD_CHECK)
			check_died(master, status, now_ms);
		else if (child.kind == CHILD_CHECKER)
			reload_checker_died(master, status, now_ms);
		else if (child.kind == CHILD_UPGRADE_CHECK)
			upgrade_reaped(master, status, now_ms);
		else if (child.kind == CHILD_LOOK)
			slow_look_died(master, status);
		else if (child.kind == CHILD_NURSERY)
			nursery_died(master, &child, status, now_ms);
		else
			reap_worker(master, &child, status, now_ms);
	}
	orphans_look(master, now_ms);
	return pid > 0;
}
