/* SPDX-License-Identifier: MIT */
#ifndef UNIT_SIMULATOR_H
#define UNIT_SIMULATOR_H
/*
 * A pool's policy (policy/pool.h) under a virtual clock, with a model of the master that carries its plans out, of the
 * processes that live and die, and of an operator who resizes, reloads, stops and quits. After each event the policy is
 * held against what the model knows to be true.
 *
 *	simulator.c            the clock, the master and the operator
 *	simulator_processes.c  what processes do by themselves, and when they are told something
 *	simulator_reload.c     a reload of this pool and of another one that has nothing but a canary, by the calls that
 *	                       the master makes, and the simulator's own account of it
 *	simulator_upgrade.c    another image takes the pool over
 *	simulator_sizing.c     clients who come and are served, the master's looks at them, and what must hold of the
 *	                       pool's size; it calls nothing of policy/sizing.h
 *	simulator_checks.c     what must hold: it has its own reckoning of backoff, deadlines and deaths, and calls
 *	                       nothing of policy/backoff.h and policy/deadline.h
 *
 * Milliseconds of the virtual clock throughout. Everything follows from the seed.
 */
#include <stdbool.h>
#include <stdint.h>

#include "crowd.h"
#include "policy/pool.h"
#include "policy/reload.h"

#define SIM_CAPACITY_MAX   72
#define SIM_CAPACITY_DRAWN 40 /* by chance */
#define SIM_NEVER          UINT64_MAX
#define SIM_TRACE          40
#define SIM_DRAIN_MS       20000

/* How the world of one pool is. Chances are out of 1,000; times are upper bounds, each is drawn anew. */
struct sim_world {
	struct pool_rules rules;
	uint32_t target;
	uint64_t born_in_ms;     /* from asked to born; 0: fork() answers at once */
	uint64_t start_in_ms;    /* from born to ready */
	uint64_t life_ms;        /* between two happenings of a ready worker's */
	uint64_t leave_in_ms;    /* after it was told */
	uint64_t dies_in_ms;     /* after SIGKILL */
	uint64_t operator_in_ms; /* between two acts of the operator's; SIM_NEVER: no acts but the stop */
	uint64_t stall_ms;       /* for so long the master itself may not run; 0: it always does */
	unsigned int fork_fails;
	unsigned int start_dies;
	unsigned int start_hangs;
	unsigned int crashes_idle;
	unsigned int crashes_serving;
	unsigned int leaves; /* by itself with status 0 */
	unsigned int hangs;
	unsigned int ignores_orders;
	unsigned int outlives_kill;
	bool accepts;                 /* they are programs that do so for themselves */
	unsigned int becomes_program; /* with its first connection */
	unsigned int not_executed;    /* of those: cannot */
	unsigned int asks_for_time;   /* while it starts */
	unsigned int misses_watchdog; /* for one happening of its life */
	unsigned int stops_itself;
	unsigned int reloads;     /* of the operator's acts */
	unsigned int bad_reloads; /* of them: whose workers do not start */
	unsigned int removals;    /* of them: without this pool */
	unsigned int refusals;    /* of those that stand: the master has a reason of its own */
	unsigned int added;       /* pools that begin with a reload, and have had no worker before */
	unsigned int upgrades;    /* of the operator's acts; and, rarer, of the moments within a plan */
	unsigned int wears;       /* at the end of a connection: it has reached a limit that the master looks at */
	struct crowd_load load;   /* of clients; without points connections come by themselves, and nobody waits */
};

/* What processes do next. */
enum sim_fate {
	FATE_NOTHING, /* hangs, or ignores what it was told */
	FATE_BORN,
	FATE_MORE_TIME, /* asks for more time to start */
	FATE_FAILED,    /* to be born */
	FATE_READY,
	FATE_SERVE,  /* a connection comes */
	FATE_SERVED, /* and ends */
	FATE_TAKE,   /* a connection comes, and it becomes a program for it */
	FATE_STOP,   /* says that it stops */
	FATE_BACK,   /* its overrun request ends after all */
	FATE_EXIT,
	FATE_CRASH,
	FATES,
};

/* How far the master has gone with a process. */
enum sim_order {
	ORDER_NONE,
	ORDER_RETIRE,
	ORDER_WARN, /* back from here it may come, to ORDER_RETIRE */
	ORDER_QUIT,
	ORDER_KILL,
	ORDER_GIVEN_UP,
};

struct sim_process {
	bool used;
	uint32_t slot;
	uint32_t generation;
	bool born;
	bool ready; /* as the policy was told while that counted */
	bool serving;
	bool running; /* a program, for the one connection that it has */
	bool worn;
	bool not_executed;
	uint64_t served;
	uint64_t idle_ms;      /* since when it waits for a client */
	uint64_t done_ms;      /* with the one it has */
	uint64_t told_idle_ms; /* that, and 1, as the policy was told; 0: that it is busy, or nothing */
	uint64_t asked_ms, born_ms, ready_ms;
	uint64_t start_due_ms;    /* must be ready; these four are SIM_NEVER where there is no such time */
	uint64_t ready_at_ms;     /* counts as ready */
	uint64_t watchdog_due_ms; /* must say that it lives */
	uint64_t retire_due_ms;   /* must have left, if it was ready */
	uint64_t worn_ms;         /* it was told to be worn */
	uint64_t recycled_ms;     /* was told to leave since it was worn; SIM_NEVER: it was not */
	uint64_t warn_due_ms;     /* its overrun request must have ended */
	uint32_t warnings;        /* of that request */
	uint64_t failures_before; /* how many the pool had counted when it was asked for */
	enum sim_order order;
	enum slot_reason reason;
	uint64_t order_ms;
	enum sim_fate fate;
	uint64_t fate_ms;
	int code; /* of FATE_EXIT and FATE_CRASH */
};

/* And of the pool's size. */
struct sim_sizing {
	uint32_t window;    /* so many may be on their way */
	uint64_t look_ms;   /* the master looks at the pool */
	uint64_t short_ms;  /* workers were missing; SIM_NEVER: never */
	uint64_t shrunk_ms; /* one was given up that has not been idle for long */
	uint64_t waited_ms; /* a client was in a queue that was looked at; 0: not looked yet */
};

/* The simulator's own reckoning of the backoff. */
struct sim_backoff {
	uint64_t failures;   /* ever counted */
	uint32_t in_a_row;   /* 0: not backing off */
	uint64_t wait_ms;    /* the last wait */
	uint64_t allowed_ms; /* no start before */
};

enum sim_canary {
	SIM_CANARY_NONE,
	SIM_CANARY_WANTED,
	SIM_CANARY_ASKED,
	SIM_CANARY_READY,
	SIM_CANARY_FAILED,
};

/* How far the master has gone with a reload. */
enum sim_stage {
	STAGE_NONE,     /* there is none, or the policy's own steps are all there is to do */
	STAGE_TRYING,   /* canaries */
	STAGE_DRAINING, /* it stands, there is no way back, and it is not committed yet */
};

/* What a reload is to bring. */
struct sim_next {
	uint32_t generation; /* the highest ever */
	struct pool_rules rules;
	uint32_t target;
	bool fails; /* the workers of this generation do not start */
};

/* What was seen to happen: a simulation in which nothing happens checks nothing. */
struct sim_tally {
	uint64_t steps;
	uint64_t plans;
	uint64_t starts;
	uint64_t fork_failures;
	uint64_t readies;
	uint64_t failures;
	uint64_t deaths[DEATH_KINDS];
	uint64_t sequels[DEATH_SEQUELS];
	uint64_t actions[SLOT_EVENTS];
	uint64_t start_timeouts;
	uint64_t overruns[2]; /* killed at once, warned */
	uint64_t overruns_back;
	uint64_t taken;
	uint64_t extensions[2]; /* refused, granted */
	uint64_t lost;
	uint64_t calms;
	uint64_t ends;
	uint64_t start_failures;
	uint64_t degraded[2];    /* no, yes: looks */
	uint64_t recovered;      /* looks, when the failures were over and not forgotten yet */
	uint64_t starts_without; /* of pools that nobody waits for any more, and that are not given up */
	uint32_t longest_row;
	uint64_t reloads[2]; /* refused, begun */
	uint64_t reloads_while_rolling;
	uint64_t reload_events[RELOAD_EVENTS];
	uint64_t canary_failures;
	uint64_t canary_retries;
	uint64_t canaries_left; /* once ready, and no failure */
	uint64_t no_room;
	uint64_t roll_retires;
	uint64_t room_retires; /* of a roll that had no room */
	uint64_t roll_calms;   /* that began in a reload */
	uint64_t at_limit;     /* workers were missing, and not started, for the limit alone */
	uint64_t limit_retires;
	uint64_t refusals; /* of reloads that stood */
	uint64_t removals;
	uint64_t drains;
	uint64_t commits_anyway; /* without a canary that stands */
	uint64_t upgrades;
	uint64_t upgrades_trying; /* while a canary was tried */
	uint64_t upgrades_rolling;
	uint64_t adopted[SLOT_STATES];
	uint64_t ghosts; /* plans held against those of a pool without the canary */
	uint64_t worn;
	uint64_t recycled;
	uint64_t impatient; /* while one that had been recycled was still there */
	uint64_t clients;
	uint64_t looks;
	uint64_t growths, shrinks, expiries; /* looks that brought one */
	uint64_t sleeps, wakes;
	uint64_t busy_retires; /* for a limit */
	uint64_t shares;
	uint64_t rests;
	uint64_t held; /* by the window alone */
	uint32_t widest_window;
};

struct sim_trace {
	uint64_t now_ms;
	const char *what;
	uint32_t slot;
	const char *detail;
};

struct sim {
	const struct sim_world *world;
	uint64_t random;
	uint64_t now_ms;
	struct pool_policy policy;
	struct slot slots[SIM_CAPACITY_MAX];
	struct pool_plan plan;

	struct sim_process processes[SIM_CAPACITY_MAX];
	uint32_t owner[SIM_CAPACITY_MAX]; /* number of the process in each slot plus 1; 0: none */
	uint32_t target;
	enum pool_phase phase;
	enum slot_reason quit_reason;
	uint64_t stop_deadline_ms;
	uint64_t end_ms; /* by then, and the graces, all must be gone */
	uint64_t last_born_ms;
	uint64_t stalled_ms; /* in all since the end began */
	bool has_served;
	bool proven;
	struct pool_rules rules; /* that are in force */
	uint32_t generation;
	bool was_ready;
	struct sim_backoff backoff;
	struct sim_sizing sizing;
	struct crowd crowd;
	uint32_t allowed; /* the pool's share of what all pools may have; UINT32_MAX: any number */
	uint32_t
		most_counted; /* so many were in use, but for canaries, and so many served, when that was last looked */
	uint32_t most_serving; /* at; UINT32_MAX: other rules hold since */

	struct reload transaction;
	struct reload_member member[2];
	enum reload_phase reload;
	struct sim_next next;
	enum sim_stage stage;
	uint64_t drain_ms; /* when it is over */
	bool is_member;    /* of the last reload, that is: it does not remove this pool */
	enum sim_canary canary;
	uint64_t room_by_ms; /* while it is wanted */
	uint64_t try_ms;     /* and not before this */
	uint64_t retry_by_ms;
	uint32_t canary_failures;
	struct pool_policy partner;
	struct slot partner_slot;
	enum sim_canary partner_canary;
	bool partner_fails;
	uint64_t partner_ms; /* of its verdict */

	uint64_t operator_ms;
	bool calm; /* nothing fails now, and no one interferes: by calm_until_ms the target must be reached */
	uint64_t calm_until_ms;

	struct sim_tally tally;
	void (*on_start)(void *context, uint64_t now_ms);        /* may be NULL */
	void (*on_moment)(void *context, const struct sim *sim); /* all is done that there is to do now; may be NULL */
	void *context;

	struct sim_trace trace[SIM_TRACE];
	uint64_t traced;
	bool broken;
	char error[256];
};

/* A life of the pool: LENGTH events of SEED's, then its end. False: SIM->error says what did not hold. */
bool sim_run(struct sim *sim, const struct sim_world *world, uint64_t seed, uint64_t length);

/* A life from 0 until UNTIL, without its end. */
bool sim_run_until(struct sim *sim, const struct sim_world *world, uint64_t seed, uint64_t until_ms);

/* The pool is to end. */
void sim_retire(struct sim *sim, uint64_t deadline_ms);

/* The last happenings, to stderr. */
void sim_print_trace(const struct sim *sim);

void sim_note(struct sim *sim, const char *what, uint32_t slot, const char *detail);

/* ---- chance ---- */

uint64_t sim_random(uint64_t *state);
uint64_t sim_upto(struct sim *sim, uint64_t most); /* 0 to MOST */
bool sim_chance(struct sim *sim, unsigned int of_1000);

/* ---- simulator_processes.c ---- */

struct sim_process *sim_process_of(struct sim *sim, uint32_t slot); /* NULL: none */
struct sim_process *sim_process_new(struct sim *sim, uint32_t slot, uint32_t generation);
void sim_process_free(struct sim *sim, struct sim_process *process);

/* Draws what PROCESS does next, from its state, its orders and the world. */
void sim_process_draw(struct sim *sim, struct sim_process *process);

/* It is ready, as far as the policy knows. */
void sim_process_ready(struct sim *sim, struct sim_process *process);

/* It was told something that it has not been told before. */
void sim_process_order(struct sim *sim, struct sim_process *process, enum sim_order order, enum slot_reason reason);

/* It has taken its one connection. */
void sim_process_become_program(struct sim *sim, struct sim_process *process);

bool sim_process_is_healthy(const struct sim *sim, const struct sim_process *process);

/* ---- simulator_reload.c ---- */

bool sim_is_canary(const struct sim *sim, const struct sim_process *process); /* of a reload that is not committed */
bool sim_is_old(const struct sim *sim, const struct sim_process *process);
bool sim_is_worn(const struct sim *sim, const struct sim_process *process); /* and not old */
bool sim_is_rolling(const struct sim *sim);
const struct pool_rules *sim_rules_of(const struct sim *sim, const struct sim_process *process);

/* What became of PROCESS; nothing, unless it is the canary of a reload under way. */
void sim_note_canary_failed(struct sim *sim, const struct sim_process *process, bool may_try_again);
void sim_note_canary_left(struct sim *sim, const struct sim_process *process);
void sim_note_canary_ready(struct sim *sim, const struct sim_process *process);
enum sim_canary sim_canary_now(const struct sim *sim);
/* One is to be started, now. */
bool sim_awaits_canary(const struct sim *sim);

/* Rules that differ in some from those that are in force. */
void sim_draw_rules(struct sim *sim, struct pool_rules *ret_rules);

void sim_reload_init(struct sim *sim);
/* The master forgets what there was of a reload. */
void sim_reload_forget(struct sim *sim);
/* The operator asks for a reload, to something new; or to a configuration without the pool. */
void sim_reload(struct sim *sim, bool removes);
/* The master lets the transaction go on. */
void sim_step_reload(struct sim *sim);

/* ---- simulator_upgrade.c ---- */

/* Another image of the master's takes the pool over, now. */
void sim_upgrade(struct sim *sim);

/* ---- simulator_sizing.c ---- */

void sim_sizing_init(struct sim *sim, uint64_t seed);
/* A size that goes by the load, in most cases; its bounds are within the capacity. */
void sim_draw_sizing(uint64_t *random, struct pool_rules *rules);
bool sim_has_clients(const struct sim *sim); /* who come by a curve of load, and wait */
bool sim_is_sized(const struct sim *sim);    /* the pool's size is the policy's own affair */

/* When a client comes, or the master looks at the pool. */
uint64_t sim_sizing_next_ms(const struct sim *sim);

/* Clients come and are taken; the master looks at what there is, if it is time, and tells the policy. */
void sim_sizing_step(struct sim *sim);
/* Something has changed that the pool's size may depend on. */
void sim_sizing_look_anew(struct sim *sim);

/* PROCESS has become ready, just now; and a program has left in order, by itself. */
void sim_sizing_note_ready(struct sim *sim, const struct sim_process *process);
void sim_sizing_note_exit(struct sim *sim);

/* There is no worker, and none is wanted until a client comes. */
bool sim_is_asleep(const struct sim *sim);

/* How many more may be asked for now, by the window alone. */
uint32_t sim_count_window(const struct sim *sim);
uint32_t sim_count_busy(const struct sim *sim);

/* The target at the start; and once RULES hold, where it was TARGET, and the configuration says WANTED. */
uint32_t sim_first_target(const struct pool_rules *rules);
uint32_t sim_target_by(const struct sim *sim, const struct pool_rules *rules, uint32_t target, uint32_t wanted);

/* The pool's share of what all pools may have. */
void sim_allow(struct sim *sim, uint32_t most);

/* How long it takes at most, once nobody comes, until the pool is at rest; and whether it is. */
uint64_t sim_calm_to_rest_ms(const struct sim *sim);
void sim_check_rest(struct sim *sim);

/* ---- simulator_checks.c ---- */

/* Notes the first thing that does not hold. */
__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *sim, const char *format, ...);

void sim_count_failure(struct sim *sim, const struct sim_process *process);
uint32_t sim_count_serving(const struct sim *sim);
uint32_t sim_count_room(const struct sim *sim);

/* Other rules hold from now on: there may be more than they allow. */
void sim_allow_what_is(struct sim *sim);

void sim_check_state(struct sim *sim);
/* PROCESS was asked for: its limits are lower by a part that the rules allow. */
void sim_check_jitter(struct sim *sim, const struct sim_process *process);
void sim_check_action(struct sim *sim, const struct pool_action *action);
void sim_check_plan(struct sim *sim);
/* The pool does what it would do without the canary that is tried. */
void sim_check_unnoticed(struct sim *sim);
/* The plan is empty: nothing that is due was forgotten, and it wakes in time. */
void sim_check_idle(struct sim *sim);
/* PROCESS has died, and the policy answered VERDICT; both still as they were before. */
void sim_check_verdict(
	struct sim *sim, struct sim_process *process, const struct death *death, const struct death_verdict *verdict);
void sim_check_calm(struct sim *sim);

#endif
