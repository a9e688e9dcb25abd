/* SPDX-License-Identifier: MIT */
#ifndef MASTER_MASTER_PRIVATE_H
#define MASTER_MASTER_PRIVATE_H
/*
 * The master's state, shared by the files of this folder:
 *
 *	master.c           the phases of its life, and the one wait; watch.h says what an event is about
 *	lifecycle.c        carries out the phases of policy/lifecycle.h
 *	report.c           what is said at the start, in the status line, and of a death
 *	pidfile.c          the pid file
 *	logger.c           keeps a logger process
 *
 *	Workers
 *	pool.c             carries out the plan of policy/pool.h for each pool
 *	pool_start.c       how a worker of a pool comes to be, and its place on the board
 *	pool_signal.c      how it is told to leave
 *	pool_watch.c       what it says of itself on the board
 *	sizing.c           how many there are to be: what is seen of the load; shares.c divides max_workers
 *	slow.c             tells of requests that take long, and where their workers are
 *	spawn.c            forks; nursery.c has the workers of inetd pools made by a process of theirs
 *	recycle.c          finds those that have reached a limit
 *	degraded.c         what is said of pools that fail
 *	reap.c             deaths; children.c knows which process is which, totals.c sums up what the dead have done
 *
 *	Workers that are programs
 *	program.c          what they say of themselves: notify_socket.c, notify_message.c; ack.c, ack_line.c (in a
 *	                   private directory: runtime_dir.c)
 *	output.c           what they write, line by line: lines.c
 *	orphans.c          what they leave behind
 *
 *	Listeners
 *	bind.c             the listeners of all pools: opening, refusing, draining, closing
 *
 *	The service manager
 *	notify.c           what it is told
 *	store.c            what it keeps for the next master
 *	survivors.c        what a master that was killed has left besides: its board, and its workers
 *
 *	Requests
 *	control.c          the control socket: control_request.c reads, control_status.c answers "status"
 *	accept_gate.c      accepting on a socket of the master's own
 *	requests.c         who carries out which
 *	scale.c            other sizes for pools
 *	check.c            "check": a child checks a file
 *	checking.c         what the children that check something have in common
 *	reload.c           the stages of a reload; reload_pools.c what each does to pools and listeners
 *	upgrade.c          the new binary, until it is executed; hand_over.c gives it the state, in the form of state.c
 *	adoption.c         what the new image finds; adopt.c takes it over, leavers.c what has no place after it
 *
 * All of this, but for what `struct worker_start` points at, is memory that a worker does not have (base/memory.h).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/logger.h"
#include "base/signals.h"
#include "board/board.h"
#include "config/config.h"
#include "master/ack.h"
#include "master/bind.h"
#include "master/check.h"
#include "master/children.h"
#include "master/control.h"
#include "master/degraded.h"
#include "master/leavers.h"
#include "master/master.h"
#include "master/notify.h"
#include "master/nursery.h"
#include "master/orphans.h"
#include "master/output.h"
#include "master/pidfile.h"
#include "master/program.h"
#include "master/recycle.h"
#include "master/reload.h"
#include "master/sizing.h"
#include "master/slow.h"
#include "master/store.h"
#include "master/survivors.h"
#include "master/totals.h"
#include "master/upgrade.h"
#include "master/watch.h"
#include "net/listener.h"
#include "policy/backoff.h"
#include "policy/lifecycle.h"
#include "policy/pool.h"
#include "worker/worker.h"

/* A worker as the master knows it; in the pool's slot of the same number. */
struct worker {
	pid_t pid;                        /* 0: none */
	const struct pool_config *config; /* that it was started for; the pool's own may be a later one */
	uint32_t board_slot;              /* meaningful while there is a pid, or it is asked for */
	uint32_t serial;                  /* of this worker in its pool: master/watch.h */
	int signal;                       /* the last one sent to it; 0: none */
	struct pool_action unsent;        /* what it could not be told yet */
	int unsent_number;                /* the signal */
	bool is_unsent;
	bool taken;          /* of an inetd pool: it has its connection, which was logged */
	uint64_t worn_at;    /* what it had reached when it was found worn, in the unit of the limit */
	uint64_t overrun_us; /* of one whose request is overrun: when that began, by the board */
	uint64_t slow_us;    /* when the last of its requests began that was slow, which was told; 0: none was */
	struct {
		uint64_t since_us; /* of the request, by the board */
		uint64_t deadline_us;
		uint64_t by_us;
	} moved; /* the deadline of a request that was under way in a gap of the master's loop */
	/* Of a program: */
	int notify_fd;          /* meaningful while there is a pid; -1: it has no NOTIFY_SOCKET */
	int error;              /* what it has said by ERRNO= */
	bool refusing;          /* a message to its socket was refused; said so once */
	bool told_main_pid;     /* what it says of MAINPID= was told */
	uint64_t told_error_ms; /* when what it says by ERRNO= last was; 0: never */
};

struct pool_next {
	const struct pool_config *config; /* NULL: no reload is tried */
	struct listener_set listeners;
	char line[256];    /* the last one of the canary under way; "": none */
	char failure[384]; /* how the last canary failed; "": none did */
};

/* In the master's table, where its place is its own for as long as it has workers; a free place has no configuration.
 */
struct pool {
	const struct pool_config *config;
	uint32_t index; /* in the table */
	struct pool_policy policy;
	struct slot *slots;                       /* of the policy */
	struct worker *workers;                   /* as many */
	struct nursery nurseries[POOL_NURSERIES]; /* of an inetd pool */
	struct output_pool output;
	struct listener_set listeners;
	struct pool_next next; /* what a reload that is tried would make of it */
	uint64_t unsent_ms;    /* when workers that could not be signalled are signalled again; 0: there is none */
	bool restart_wanted;   /* by the next reload, at least */
	bool scaled;           /* by an operator, since the last reload */
	bool leaving;          /* its section is gone: it ends once its workers have */
	char *title;           /* of its workers */
	struct pool_failures failures;
	uint64_t spawn_count;              /* workers started ever, those that could not be made included */
	uint64_t next_scan_ms;             /* of the requests' deadlines */
	bool fork_failing;                 /* said so once in this episode */
	bool options_failing;              /* of a listener; said so once */
	struct board_pool *totals;         /* of its workers that are gone: on the board */
	uint64_t recycled[RECYCLE_CAUSES]; /* workers that are gone since they were worn */
	struct recycle_memory memory;
	struct slow_pool slow;
	uint64_t slow_count; /* requests that were slow, whether they were told or not */
	uint64_t taken_ms;   /* of an inetd pool: when a connection was last taken; 0: never */
	struct pool_sizing sizing;
};

/* More pools than this are none: watch.h has 16 bits for their number. */
#define POOLS_MAX 4096

struct logger_process {
	struct logger_config config;
	struct logger_channel channel;
	pid_t pid; /* 0: none */
	struct backoff backoff;
	uint64_t started_ms;
	bool fork_failing;   /* said so once in this episode */
	bool changing;       /* it was told to make room for one of another configuration */
	uint64_t kill_ms;    /* and is killed then, if it has not */
	bool keeps_terminal; /* a detached master has left standard error open for it */
};

struct master {
	const struct config *config;
	const struct master_options *options;
	pid_t pid;

	struct pidfile pidfile;
	struct signals signals;
	int epoll_fd;
	int wake_fd; /* an eventfd that workers write to */
	int dead_fd; /* /dev/null: see worker/signals.h */

	struct board board;
	uint32_t places;  /* on the board: max_workers, and a reserve for reloads */
	bool *board_used; /* a place each */
	uint32_t board_free;
	struct children children;
	struct pool *pools; /* POOLS_MAX of them */
	size_t pool_count;  /* those in use are all below this */
	struct listener_table listeners;
	struct master_reload reload;
	struct logger_process logger;
	struct notify notify;
	struct store store;
	struct survivors survivors;
	struct output_master output;
	struct ack_server ack;
	struct control control;
	struct check check;
	struct orphans orphans;
	struct slow slow;
	struct upgrade upgrade;
	struct leavers leavers;
	struct nurseries nurseries;

	enum life_phase phase;
	uint32_t generation;       /* of the last configuration that was tried; 1 at first */
	uint64_t stop_deadline_ms; /* from the beginning of a stop */
	uint64_t drain_check_ms;   /* while draining: when to look at the queues again */
	uint64_t drain_step_ms;    /* and how long after that */
	int exit_status;

	uint64_t skipped_ms;       /* by the clock, as far as the requests' deadlines know of it */
	uint64_t soft_descriptors; /* RLIMIT_NOFILE's soft limit before the master raised its own */
	bool reset_oom_score;
	bool has_terminal;
};

/* ---- master.c ---- */

/* Has FD's input arrive as an event about WATCH. Returns 0 or a negative errno. Before the descriptor is closed, it is
 * taken out again: a child that is just being made would keep it in. */
ATTR_NODISCARD int master_watch(const struct master *master, int fd, const struct watch *watch);
void master_unwatch(const struct master *master, int fd);
/* The same for one event: then it is to be taken out. */
ATTR_NODISCARD int master_watch_once(const struct master *master, int fd, const struct watch *watch);
/* The same descriptor and watch, but for EVENTS, of EPOLLIN and EPOLLOUT; that it has hung up comes in any case. */
void master_watch_for(const struct master *master, int fd, const struct watch *watch, uint32_t events);

/* ---- pool.c ---- */

/* How many places the board needs: for max_workers, and a reserve for reloads. */
uint32_t pools_places(const struct config *config);
int pools_init(struct master *master);
/* What the policy goes by. */
struct pool_rules pool_rules(const struct master *master, const struct pool_config *config);
/* A pool more, of the present generation, with TARGET workers. NULL: no memory, or too many. */
struct pool *pools_add(struct master *master, const struct pool_config *config, uint32_t target);
/* It has no workers left. */
void pools_remove(struct master *master, struct pool *pool);
/* The pool after POOL in the table; the first with NULL; NULL after the last. */
struct pool *pools_next(const struct master *master, const struct pool *pool);
/* NOLINTBEGIN(bugprone-macro-parentheses): POOL is the name of what is declared. */
#define FOR_EACH_POOL(master, pool)                                                                                    \
	for (struct pool *pool = pools_next(master, NULL); pool != NULL; pool = pools_next(master, pool))
/* NOLINTEND(bugprone-macro-parentheses) */
void pools_done(struct master *master);
/* Carries out what every pool's plan says now. Returns when to call again at the latest. */
uint64_t pools_act(struct master *master, uint64_t now_ms);
uint32_t pools_living(const struct master *master);
bool pools_all_ready(const struct master *master);
bool pools_start_failed(const struct master *master);
/* What the worker in SLOT is; a pool may change its handler while workers of the one before it live. */
static inline enum handler_kind worker_kind(const struct pool *pool, uint32_t slot)
{
	return pool->workers[slot].config->kind;
}

/* Whether it is a program that accepts for itself. */
static inline bool worker_is_program(const struct pool *pool, uint32_t slot)
{
	return worker_kind(pool, slot) == HANDLER_ACCEPTS;
}

/* Whether it was started for a reload that is tried. */
static inline bool worker_is_canary(const struct pool *pool, uint32_t slot)
{
	return pool->slots[slot].generation > pool->policy.generation;
}

/* ---- pool_start.c ---- */

/* What the handler needs of the shared sockets, which a program that had them may have changed: that of the next
 * configuration, once its canaries accept. */
void pool_prepare_listeners(struct master *master, struct pool *pool);
/* The same before the worker of ACTION is asked for. A canary that is held needs nothing yet; a program's listeners are
 * as it needs them, and so less than the old workers may have, until it is committed or undone. */
void pool_prepare_for(struct master *master, struct pool *pool, const struct pool_action *action);
/* Once no worker of an earlier configuration is left, no listener needs to be as such a one needed it. Returns whether
 * that is so. */
bool pools_settle_listeners(struct master *master);
/* Whether it is an inetd pool in the middle of serving, where workers are only replaced. Nothing waits for them to
 * become ready, and they need not wake the master for that: see pools_note_quiet(). */
bool pool_is_settled(const struct pool *pool);
/* Whether the worker of ACTION can be asked for. Not so where the board is full with workers that are leaving, or the
 * nursery is busy: then the first of them to be gone, or to be born, makes the master ask again. */
bool pool_may_ask(struct master *master, struct pool *pool, const struct pool_action *action);
/* Asks for it, if it can. The answer may come at once, or later: pool_born() or pool_not_born(). Returns false where it
 * was not asked for, or was refused at once. */
bool pool_ask(struct master *master, struct pool *pool, const struct pool_action *action);
/* Whether max_workers allows one more in all pools together. */
bool pools_have_place(const struct master *master);
void pool_born(struct master *master, struct pool *pool, uint32_t slot, pid_t pid);
void pool_not_born(struct master *master, struct pool *pool, uint32_t slot, int error);
/* What a worker, or a nursery of such workers, is given; program_prepare() and output_open() have the rest. BOARD is
 * memory that it has. */
struct worker_start pool_worker_start(
	const struct master *master, const struct pool *pool, uint32_t slot, const struct board *board);
/* The worker in SLOT is gone from the kernel's point of view: forgets its pid, frees its place on the board. */
void pool_forget_worker(struct master *master, struct pool *pool, uint32_t slot);
/* A place on the board that a worker of the last master's has, until it is freed. */
void pool_reserve_place(struct master *master, uint32_t place);
void pool_free_place(struct master *master, uint32_t place);
struct board_slot *pool_board_slot(const struct master *master, const struct pool *pool, uint32_t slot);

/* ---- pool_signal.c ---- */

/* Signals the worker of an action, as its kind is signalled, and tells the policy. */
void pool_signal(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms);

/* Tries again what could not be sent, as long as the policy goes no further. Returns when to call again at the latest.
 */
uint64_t pool_signal_again(struct pool *pool, uint64_t now_ms);

/* ---- pool_watch.c ---- */

/* Workers that have a connection, by the scoreboard; of programs that accept for themselves it is not known. */
uint32_t pools_serving(const struct master *master);

/* Workers have said something: notes who became ready, or has taken its connection. */
void pools_note_ready(struct master *master, uint64_t now_ms);
/* Notes those that became ready without waking the master. Returns when to call again at the latest. */
uint64_t pools_note_quiet(struct master *master, uint64_t now_ms);
/* The same for one, before its death is looked at. */
void pool_note_worker(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);
/* Warns workers whose request is overrun, or kills them, and has those leave that come back. Returns when to call again
 * at the latest. */
uint64_t pools_check_requests(struct master *master, uint64_t now_ms);
/* The loop stood still for GAP: requests that are under way have as much more time. */
void pools_move_requests(struct master *master, uint64_t gap_ms);
/* Whether processes have deadlines now, so that they would be moved. */
bool pools_are_timed(const struct master *master);
/* One that is a program, of which the master writes the state on the board, is ready. */
void pool_became_ready(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);

/* ---- reap.c ---- */

/* Returns whether more may be left: so many are reaped before all else is looked at again. */
bool reap_all(struct master *master, uint64_t now_ms);

/* ---- lifecycle.c ---- */

void lifecycle_event(struct master *master, enum life_event event, uint64_t now_ms);
/* Looks whether a phase is over. Returns when to look again at the latest. */
uint64_t lifecycle_check(struct master *master, uint64_t now_ms);

/* ---- logger.c ---- */

/* Checks the files and makes the channel. Returns an exit status. */
int logger_process_prepare(struct master *master);
/* From here on lines go to the logger. */
void logger_process_start(struct master *master);
void logger_process_died(struct master *master, const struct death *death, uint64_t now_ms);
/* Starts it again where it is due. Returns when to call again at the latest. */
uint64_t logger_process_check(struct master *master, uint64_t now_ms);
/* Whether a logger could go by CONFIG: opens and closes its files. Returns 0 or a negative errno, and which it is. */
int logger_process_try(const struct master *master, const struct config *config, const char **ret_path);
/* It writes what is queued and leaves, for another one. There is one. */
void logger_process_replace(struct master *master, uint64_t now_ms);
/* From now on it goes by CONFIG; another process takes over where there is a difference. Lines are queued meanwhile. */
void logger_process_change(struct master *master, const struct config *config, uint64_t now_ms);
void logger_process_reopen(const struct master *master);
/* Has it write what is queued, and waits for it, for a bounded time. */
void logger_process_stop(struct master *master);

/* ---- report.c ---- */

void report_start(const struct master *master);
void report_ready(struct master *master);
void report_start_failed(const struct master *master);
/* How a reload ended: TEXT says why it was refused. */
void report_reload(struct master *master, bool good, const char *text);
/* At every turn of the loop. */
void report_status(struct master *master, uint64_t now_ms);
/* "exit status 1", "signal 9 (SIGKILL)". Returns BUFFER. */
const char *report_how(const struct death *death, bool before_ready, char *buffer, size_t size);
/* The worker in SLOT of an inetd pool has taken its connection. */
void report_taken(const struct master *master, const struct pool *pool, uint32_t slot);
/* Whom the worker of SLOT serves, or served last; "none". Returns BUFFER. */
const char *report_peer(const struct board_slot *slot, char *buffer, size_t size);
void report_logger_death(const struct logger_process *logger, const struct death *death, uint64_t now_ms);
/* ACTION, by signal NUMBER, is for a request that is overrun, or was. */
void report_overrun(const struct master *master, const struct pool *pool, const struct pool_action *action, int number);
void report_death(struct master *master, const struct pool *pool, uint32_t slot, const struct death *death,
	const struct death_verdict *verdict);

#endif
