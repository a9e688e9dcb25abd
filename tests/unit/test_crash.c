/* SPDX-License-Identifier: MIT */
/* What a worker says of its crash: trouble.so makes one, of whatever kind, in a child that reports here. */
#include "tests/unit/stream_pair.h"

#include <dlfcn.h>
#include <fnmatch.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <brood/module.h>

#include "base/log.h"
#include "base/log_wire.h"
#include "base/symbol.h"
#include "worker/crash.h"

static struct {
	char event[64];
	char signal[32];
	char address[64];
	char function[256];
	char backtrace[3000];
	char pool[32];
	char module[32];
} report;

static void keep_field(const struct log_wire_field *field)
{
	const struct {
		const char *name;
		char *text;
		size_t size;
	} kept[] = {
		{"signal",     report.signal,    sizeof(report.signal)   },
		{ "address",   report.address,   sizeof(report.address)  },
		{ "function",  report.function,  sizeof(report.function) },
		{ "backtrace", report.backtrace, sizeof(report.backtrace)},
		{ "pool",      report.pool,      sizeof(report.pool)     },
		{ "module",    report.module,    sizeof(report.module)   },
	};

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (strlen(kept[i].name) == field->name_size &&
			memcmp(kept[i].name, field->name, field->name_size) == 0)
			snprintf(kept[i].text, kept[i].size, "%.*s", (int)field->value_size, field->value);
}

/* The one line that came through the log's socket; false if there is none. */
static bool read_report(int fd)
{
	static char message[LOG_LINE_MAX];
	ssize_t size = recv(fd, message, sizeof(message), MSG_DONTWAIT);
	struct log_wire_field field;
	struct log_record record;
	size_t position = 0;

	memset(&report, 0, sizeof(report));
	if (size <= 0)
		return false;
	cr_assert_eq(log_wire_parse(message, (size_t)size, &record), 0);
	cr_assert_eq(record.header.cut, 0);
	snprintf(report.event, sizeof(report.event), "%.*s", (int)record.event_size, record.event);
	while (log_wire_next(&record, &position, &field))
		keep_field(&field);
	cr_assert_eq(recv(fd, message, sizeof(message), MSG_DONTWAIT), -1, "one line");
	return true;
}

/* Where the list of callers is to end: in a function that calls run_child(). */
static const void *outermost;

static void install(int log_socket)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_connect(log_socket, NULL);
	if (crash_install("web", "/lib/trouble.so", outermost) < 0)
		_exit(90);
}

static const struct brood_module *load_trouble(void)
{
	char path[4096];
	void *handle;

	snprintf(path, sizeof(path), "%s/trouble.so", getenv("BROOD_TEST_MODULES"));
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return handle == NULL ? NULL : dlsym(handle, BROOD_MODULE_SYMBOL);
}

static __attribute__((noinline)) int run_child(void (*child)(const char *word), const char *word)
{
	int ends[2], status;
	pid_t pid;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (pid == 0) {
		outermost = __builtin_return_address(0);
		install(ends[1]);
		child(word);
		_exit(91);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	read_report(ends[0]);
	close(ends[0]);
	close(ends[1]);
	return status;
}

static void serve_word(const char *word)
{
	const struct brood_module *module = load_trouble();
	struct stream_pair pair;
	char line[32];

	if (module == NULL)
		_exit(92);
	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, line, (size_t)snprintf(line, sizeof(line), "%s\n", word));
	module->serve(NULL, &pair.stream);
}

static void must_report(const char *word, int number, const char *name, const char *function, const char *backtrace)
{
	int status = run_child(serve_word, word);

	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == number, "%s: status %x", word, (unsigned int)status);
	cr_expect_str_eq(report.event, "worker crashed", "%s", word);
	cr_expect_str_eq(report.pool, "web");
	cr_expect_str_eq(report.module, "/lib/trouble.so");
	cr_expect_str_eq(report.signal, name);
	cr_expect_eq(fnmatch(function, report.function, 0), 0, "%s: function %s", word, report.function);
	cr_expect_eq(fnmatch(backtrace, report.backtrace, 0), 0, "%s: backtrace %s", word, report.backtrace);
}

Test(crash, each_signal_names_function_and_callers)
{
	must_report("segv", SIGSEGV, "SIGSEGV", "trouble_segv+0x* (trouble.so+0x*)",
		"trouble_segv+0x* (trouble.so+0x*) < *serve+0x* (trouble.so+0x*) < serve_word+0x* < *run_child+0x* "
		"(*)");
	cr_expect_str_eq(report.address, "0x10");
	must_report("fpe", SIGFPE, "SIGFPE", "trouble_fpe+0x*", "trouble_fpe+0x* < *serve+0x* (trouble.so+0x*) < *");
	must_report("ill", SIGILL, "SIGILL", "trouble_ill+0x*", "trouble_ill+0x* < *serve+0x* (trouble.so+0x*) < *");
	must_report("bus", SIGBUS, "SIGBUS", "trouble_bus+0x*", "trouble_bus+0x* < *serve+0x* (trouble.so+0x*) < *");
	must_report("abort", SIGABRT, "SIGABRT", "trouble_abort+0x* (trouble.so+0x*)",
		"*libc.so.6* < *trouble_abort+0x* < *serve+0x* < *");
	cr_expect_str_eq(report.address, "none");
}

Test(crash, an_exported_function_is_named_too)
{
	must_report("exported", SIGSEGV, "SIGSEGV", "trouble_segv+0x*", "trouble_segv+0x* < trouble_exported+0x* < *");
}

Test(crash, a_stack_that_has_run_over)
{
	must_report("overflow", SIGSEGV, "SIGSEGV", "trouble_overflow+0x*",
		"trouble_overflow+0x* < trouble_overflow+0x* < trouble_overflow+0x*");
}

Test(crash, a_call_of_nothing_names_the_caller)
{
	must_report("null_call", SIGSEGV, "SIGSEGV", "trouble_null_call+0x*",
		"0x0 < trouble_null_call+0x* (trouble.so+0x*)*");
}

Test(crash, a_ruined_stack)
{
	must_report("smash", SIGSEGV, "SIGSEGV", "trouble_segv+0x*", "trouble_segv+0x*");
}

Test(crash, the_list_ends_where_it_is_told_to)
{
	must_report("segv", SIGSEGV, "SIGSEGV", "*", "*run_child*");
	cr_expect_null(strstr(report.backtrace, "must_report"), "%s", report.backtrace);
}

/* ---- other ways ---- */

static void be_killed(const char *word)
{
	pid_t victim = getpid();

	if (fork() == 0)
		_exit(kill(victim, SIGSEGV));
	for (;;)
		pause();
}

Test(crash, a_signal_that_was_sent_names_the_sender)
{
	int status = run_child(be_killed, "");

	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	cr_expect_str_eq(report.signal, "SIGSEGV");
	cr_expect_eq(fnmatch("none, sent by process [1-9]*", report.address, 0), 0, "%s", report.address);
}

static __attribute__((noinline, no_sanitize("undefined"))) void crash_here(void)
{
	*(volatile int *)(uintptr_t)(getpid() & 8) = 1;
}

static void *crash_in_thread(void *argument)
{
	crash_here();
	return argument;
}

static void crash_in_threads(const char *word)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, crash_in_thread, NULL);
	for (;;)
		pause();
}

Test(crash, threads_that_crash_together_report_once)
{
	for (int i = 0; i < 10; i++) {
		int status = run_child(crash_in_threads, "");

		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x", (unsigned int)status);
		cr_expect_str_eq(report.event, "worker crashed");
	}
}

/* The loader holds its lock while it runs a constructor; this one never ends. */
static void *load_for_ever(void *path)
{
	dlopen(path, RTLD_NOW);
	return NULL;
}

static bool is_mapped(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[8192];
	bool found = false;

	while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL)
		found = strstr(line, name) != NULL;
	if (maps != NULL)
		fclose(maps);
	return found;
}

static void crash_without_the_lock(const char *word)
{
	char path[4096];
	pthread_t thread;

	snprintf(path, sizeof(path), "%s/%s", getenv("BROOD_TEST_MODULES"), word);
	pthread_create(&thread, NULL, load_for_ever, path);
	while (!is_mapped(word))
		sched_yield();
	crash_here();
}

/* Nothing has its name then; the death is what it would have been. */
Test(crash, a_lock_that_another_thread_holds)
{
	int status = run_child(crash_without_the_lock, "constructor_hangs.so");

	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x", (unsigned int)status);
	cr_expect_str_eq(report.event, "worker crashed");
	cr_expect_eq(fnmatch("0x*", report.function, 0), 0, "%s", report.function);
	cr_expect_eq(fnmatch("0x* < 0x* < *", report.backtrace, 0), 0, "%s", report.backtrace);
}

Test(crash, symbols_of_addresses)
{
	struct symbol symbol;

	symbol_find((uintptr_t)crash_here + 1, &symbol);
	cr_expect_str_eq(symbol.name, "crash_here");
	cr_expect_eq(symbol.name_offset, 1);
	cr_expect_neq(symbol.object[0], '\0');
	symbol_find((uintptr_t)&report, &symbol);
	cr_expect_str_eq(symbol.name, "", "data is no function");
	symbol_find(1, &symbol);
	cr_expect_str_eq(symbol.object, "");
	symbol_find((uintptr_t)gnu_get_libc_version, &symbol);
	cr_expect_neq(symbol.name[0], '\0');
	cr_expect_str_eq(symbol.object, "libc.so.6");
}
