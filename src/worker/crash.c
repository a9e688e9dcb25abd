/* SPDX-License-Identifier: MIT */
#include "worker/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/append.h"
#include "base/attrs.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/symbol.h"

/* Of the crashed code; the handler's own come on top of them. */
#define FRAMES_MAX     16
#define FRAMES_ON_TOP  8
#define STACK_SIZE     (64U * 1024)
#define STEP_MAX_S     1
#define BACKTRACE_SIZE 2048

static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL };

/*
 * One for the process: not on its stacks, which may be the trouble, and not among the variables, as workers without
 * foreign code have those too.
 */
struct crash {
	const char *pool;
	const char *module;
	const void *outermost; /* the return address where the list of callers ends */
	const char *object;    /* the module's file, without its directory */
	atomic_int reporter;   /* the thread that reports, or 0 */
	volatile sig_atomic_t number;
	volatile sig_atomic_t collecting; /* a fault now ends a step of it, and not the report */
	sigjmp_buf next_step;
	uintptr_t instruction; /* where it happened */
	uintptr_t caller;      /* where that was no code: who called it; or 0 */
	void *frames[FRAMES_MAX + FRAMES_ON_TOP];
	char address[64];
	char function[SYMBOL_PLACE_MAX];
	bool function_found; /* one of the module's own */
	char backtrace[BACKTRACE_SIZE];
};
static struct crash *crash;

/* ---- where it happened ---- */

/* The instruction; 0 where this does not know the machine. */
static uintptr_t context_instruction(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)context->uc_mcontext.pc;
#else
	(void)context;
	return 0;
#endif
}

/*
 * Who has called what is no code, such as a function pointer that is NULL, from where no stack can be walked. It is
 * read by a system call, which fails where the memory is not there.
 */
static uintptr_t context_caller(const ucontext_t *context)
{
	uintptr_t caller = 0;
#if defined(__x86_64__)
	uintptr_t top = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	struct iovec here = { .iov_base = &caller, .iov_len = sizeof(caller) };
	struct iovec there = { .iov_base = (void *)top, .iov_len = sizeof(caller) };

	if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof(caller))
		caller = 0;
#elif defined(__aarch64__)
	caller = (uintptr_t)context->uc_mcontext.regs[30];
#else
	(void)context;
#endif
	return caller;
}

/*
 * The list goes from the fault to its callers. A return address is behind the call, perhaps behind the function. The
 * first of them that is the module's names the function: a library's may only have been given what was wrong.
 */
static void add_frame(uintptr_t address, bool is_return)
{
	char place[SYMBOL_PLACE_MAX] = "";
	struct symbol symbol;

	symbol_find(is_return ? address - 1 : address, &symbol);
	symbol_append_place(place, sizeof(place), address, &symbol);
	if (crash->backtrace[0] != '\0')
		append_text(crash->backtrace, sizeof(crash->backtrace), " < ");
	append_text(crash->backtrace, sizeof(crash->backtrace), place);
	if (!crash->function_found && strcmp(symbol.object, crash->object) == 0) {
		memcpy(crash->function, place, sizeof(place));
		crash->function_found = true;
	}
}

static void name_frames(void)
{
	/* On a machine that context_instruction() does not know the handler's own frames are in the list, too. */
	bool known = crash->instruction != 0 || crash->caller != 0;
	size_t next = 0;

	if (known) {
		while (next < ARRAY_SIZE(crash->frames) && (uintptr_t)crash->frames[next] != crash->instruction)
			next++;
		next++;
		add_frame(crash->instruction, false);
	}
	if (crash->caller != 0)
		add_frame(crash->caller, true);
	for (size_t last = next + FRAMES_MAX; next < ARRAY_SIZE(crash->frames) && next < last; next++) {
		if (crash->frames[next] == NULL || crash->frames[next] == crash->outermost)
			break;
		add_frame((uintptr_t)crash->frames[next], true);
	}
}

static void name_function(const ucontext_t *context)
{
	struct symbol symbol;

	crash->instruction = context_instruction(context);
	symbol_find(crash->instruction, &symbol);
	symbol_append_place(crash->function, sizeof(crash->function), crash->instruction, &symbol);
	if (symbol.object[0] == '\0')
		crash->caller = context_caller(context);
}

/* Where a step has failed, addresses are better than nothing: addr2line(1), with what /proc said of the process. */
static void fall_back_on_addresses(void)
{
	if (crash->function[0] == '\0')
		append_number(crash->function, sizeof(crash->function), crash->instruction, 16);
	if (crash->backtrace[0] != '\0')
		return;
	for (size_t i = 0; i < ARRAY_SIZE(crash->frames) && crash->frames[i] != NULL; i++) {
		append_text(crash->backtrace, sizeof(crash->backtrace), crash->backtrace[0] != '\0' ? " < " : "");
		append_number(crash->backtrace, sizeof(crash->backtrace), (uintptr_t)crash->frames[i], 16);
	}
}

/*
 * Three steps: a fault in one, such as on a stack that is a ruin, ends it, and what it has found is kept. So does an
 * alarm after STEP_MAX_S: names take a lock of the loader's, which another thread may hold for ever.
 */
static void collect(const ucontext_t *context)
{
	crash->collecting = 1;
	alarm(STEP_MAX_S);
	if (sigsetjmp(crash->next_step, 1) == 0)
		name_function(context);
	alarm(STEP_MAX_S);
	if (sigsetjmp(crash->next_step, 1) == 0)
		backtrace(crash->frames, ARRAY_SIZE(crash->frames));
	alarm(STEP_MAX_S);
	if (sigsetjmp(crash->next_step, 1) == 0)
		name_frames();
	crash->collecting = 0;
	alarm(STEP_MAX_S);
	fall_back_on_addresses();
}

/* ---- the handlers ---- */

static void stop_handling(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		signal(faults[i], SIG_DFL);
}

/* With the default action, in the thread that has crashed; the signal is not blocked in its handler. */
static void die(void)
{
	stop_handling();
	raise(crash->number);
}

static void on_alarm(int number)
{
	(void)number;
	if (crash->collecting)
		siglongjmp(crash->next_step, 1);
	die();
}

static void handle_alarms(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t alarms;

	sigemptyset(&action.sa_mask);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigaction(SIGALRM, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
}

static void describe_cause(const siginfo_t *info)
{
	if (info->si_code > 0) {
		append_number(crash->address, sizeof(crash->address), (uintptr_t)info->si_addr, 16);
		return;
	}
	append_text(crash->address, sizeof(crash->address), "none");
	if (info->si_pid != getpid()) {
		append_text(crash->address, sizeof(crash->address), ", sent by process ");
		append_number(crash->address, sizeof(crash->address), (uintptr_t)info->si_pid, 10);
	}
}

static void report(void)
{
	log_event(LOG_LEVEL_ERROR, "worker crashed", LOG_TEXT("pool", crash->pool), LOG_TEXT("module", crash->module),
		LOG_TEXT("signal", signals_name(crash->number)), LOG_TEXT("address", crash->address),
		LOG_TEXT("function", crash->function), LOG_TEXT("backtrace", crash->backtrace));
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	int reporter = 0;

	if (!atomic_compare_exchange_strong(&crash->reporter, &reporter, gettid())) {
		while (reporter != gettid())
			pause(); /* another thread's crash is being reported, and ends all */
		if (crash->collecting)
			siglongjmp(crash->next_step, 1);
		die();
	}
	crash->number = number;
	handle_alarms();
	describe_cause(info);
	collect(context);
	report();
	/* A fault of an instruction comes again, now with its default action, and the core shows it where it was. */
	if (info->si_code > 0)
		stop_handling();
	else
		die();
}

static void *map_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* With a page before it that nobody may touch. */
static int use_other_stack(void)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = map_memory(guard + STACK_SIZE);

	if (memory == NULL || mprotect(memory, guard, PROT_NONE) < 0)
		return -errno;
	return sigaltstack(&(stack_t){ .ss_sp = memory + guard, .ss_size = STACK_SIZE }, NULL) < 0 ? -errno : 0;
}

void crash_prepare(void)
{
	static bool prepared;
	void *frame;

	/* Where the library could not be loaded, there are no frames, and the worker tries again. */
	if (!prepared)
		prepared = backtrace(&frame, 1) > 0;
}

int crash_install(const char *pool, const char *module, const void *caller)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	int result;

	crash = map_memory(sizeof(*crash));
	result = crash == NULL ? -ENOMEM : use_other_stack();
	if (result < 0)
		return result;
	crash_prepare();
	crash->pool = pool;
	crash->outermost = caller;
	crash->module = module;
	crash->object = strrchr(module, '/') != NULL ? strrchr(module, '/') + 1 : module;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (sigaction(faults[i], &action, NULL) < 0)
			return -errno;
	return 0;
}
