/* SPDX-License-Identifier: MIT */
/* What config_load() makes of a file: struct config, field by field; and files that are none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/source.h"
#include "config_modules.h"

static char directory[] = "/tmp/brood-test-XXXXXX";
static char *errors;
static struct config *config;

/* Loads TEXT as a file "t.conf" that may include nothing. Returns config_load_text()'s result. */
static int load_text(const char *text, const struct config_overrides *overrides)
{
	size_t size;
	FILE *out;
	int result;

	free(errors);
	errors = NULL;
	out = open_memstream(&errors, &size);
	cr_assert(out);
	config = NULL;
	result = config_load_text(text, strlen(text), "t.conf", &test_host, overrides, out, &config);
	fclose(out);
	return result;
}

static int load_file(const char *path)
{
	size_t size;
	FILE *out;
	int result;

	free(errors);
	errors = NULL;
	out = open_memstream(&errors, &size);
	cr_assert(out);
	config = NULL;
	result = config_load(path, &test_host, NULL, out, &config);
	fclose(out);
	return result;
}

static void enter_directory(void)
{
	cr_assert(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
}

static void remove_directory(void)
{
	char command[64];

	free(errors);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(system(command), 0);
}

static void write_file(const char *path, const char *text, size_t size)
{
	FILE *file = fopen(path, "we");

	cr_assert(file);
	cr_assert_eq(fwrite(text, 1, size, file), size);
	cr_assert_eq(fclose(file), 0);
}

/* PATH in the test's directory, absolute. Valid until the next call. */
static const char *full_path(const char *path)
{
	static char absolute[128];

	snprintf(absolute, sizeof(absolute), "%s/%s", directory, path);
	return absolute;
}

/* ---- fields ---- */

Test(config_load, defaults)
{
	struct pool_config *pool;

	cr_assert_eq(load_text("pool a { listen = \":0\" handler = plain }", NULL), 0, "%s", errors);
	cr_expect_str_eq(config->file, "t.conf");
	cr_expect_str_eq(config->log_target, "auto");
	cr_expect_str_empty(config->pidfile);
	cr_expect_str_eq(config->control, "auto");
	cr_expect_eq(config->control_mode, 0600);
	cr_expect_eq(config->log_level, LOG_LEVEL_INFO);
	cr_expect_eq(config->log_format, LOG_FORMAT_TEXT);
	cr_expect_eq(config->max_workers, 1024);
	cr_expect_eq(config->stop_timeout_ms, 30000);
	cr_assert_eq(config->pool_count, 1);
	pool = &config->pools[0];
	cr_expect_str_eq(pool->name, "a");
	cr_expect_str_eq(pool->file, "t.conf");
	cr_expect_eq(pool->line, 1);
	cr_expect_eq(pool->listen_count, 1);
	cr_expect_null(pool->listen[1]);
	cr_expect_eq(pool->handler, &module_plain);
	cr_expect_eq(pool->workers, 8);
	cr_expect_eq(pool->listener.backlog, 511);
	cr_expect_eq(pool->listener.socket_mode, 0660);
	cr_expect_eq(pool->listener.socket_uid, (uid_t)-1);
	cr_expect_eq(pool->listener.socket_gid, (gid_t)-1);
	cr_expect_not(pool->listener.reuse_port);
	cr_expect_eq(pool->start_timeout_ms, 30000);
	cr_expect_eq(pool->stop_timeout_ms, 30000);
	cr_expect_eq(pool->request_timeout_ms, 0);
	cr_expect_eq(pool->read_timeout_ms, 30000);
	cr_expect_eq(pool->write_timeout_ms, 30000);
	cr_expect_eq(pool->idle_timeout_ms, 5000);
	cr_expect_eq(pool->slow_after_ms, 0);
	cr_expect_eq(pool->backoff_min_ms, 100);
	cr_expect_eq(pool->backoff_max_ms, 30000);
	cr_expect_eq(pool->healthy_after_ms, 10000);
	cr_expect_eq(pool->give_up_after, 5);
	cr_expect_eq(pool->max_requests, 0);
	cr_expect_eq(pool->max_age_ms, 0);
	cr_expect_eq(pool->max_memory, 0);
	cr_expect_eq(pool->memory_measure, MEMORY_RSS);
	cr_expect_eq(pool->jitter, 10);
	cr_expect_not(pool->identity.change);
	config_free(config);
}

Test(config_load, every_field_of_a_pool)
{
	struct pool_config *pool;

	cr_assert_eq(
		load_text(
			"max_workers = 020 log_level = error log_format = json stop_timeout = 1s\n"
			"pool a { listen = { \":0\", \"unix:@x\" } handler = plain backlog = 7 defer_accept = 3s\n"
			"fastopen = 9 reuse_port = on freebind = on socket_mode = 640 socket_user = 7\n"
			"socket_group = 8 workers = 011 start_timeout = 1ms stop_timeout = 2ms request_timeout = 3ms\n"
			"read_timeout = 4ms write_timeout = 5ms idle_timeout = 6ms backoff_min = 7ms\n"
			"slow_after = 9ms "
			"backoff_max = 8ms healthy_after = 100ms give_up_after = off max_requests = 1000000000\n"
			"max_age = 365d max_memory = 3G memory_measure = pss jitter = 100 }",
			NULL),
		0, "%s", errors);
	pool = &config->pools[0];
	cr_expect_eq(config->max_workers, 20);
	cr_expect_eq(config->log_level, LOG_LEVEL_ERROR);
	cr_expect_eq(config->log_format, LOG_FORMAT_JSON);
	cr_expect_eq(config->stop_timeout_ms, 1000);
	cr_expect_eq(pool->listen_count, 2);
	cr_expect_str_eq(pool->listen[1], "unix:@x");
	cr_expect_eq(pool->listener.backlog, 7);
	cr_expect_eq(pool->listener.defer_accept_s, 3);
	cr_expect_eq(pool->listener.fastopen, 9);
	cr_expect(pool->listener.reuse_port);
	cr_expect(pool->listener.freebind);
	cr_expect_eq(pool->listener.socket_mode, 0640);
	cr_expect_eq(pool->listener.socket_uid, 7);
	cr_expect_eq(pool->listener.socket_gid, 8);
	cr_expect_eq(pool->workers, 11);
	cr_expect_eq(pool->start_timeout_ms, 1);
	cr_expect_eq(pool->stop_timeout_ms, 2);
	cr_expect_eq(pool->request_timeout_ms, 3);
	cr_expect_eq(pool->read_timeout_ms, 4);
	cr_expect_eq(pool->write_timeout_ms, 5);
	cr_expect_eq(pool->idle_timeout_ms, 6);
	cr_expect_eq(pool->slow_after_ms, 9);
	cr_expect_eq(pool->backoff_min_ms, 7);
	cr_expect_eq(pool->backoff_max_ms, 8);
	cr_expect_eq(pool->healthy_after_ms, 100);
	cr_expect_eq(pool->give_up_after, 0);
	cr_expect_eq(pool->max_requests, 1000000000);
	cr_expect_eq(pool->max_age_ms, UINT64_C(365) * 24 * 3600 * 1000);
	cr_expect_eq(pool->max_memory, UINT64_C(3) << 30);
	cr_expect_eq(pool->memory_measure, MEMORY_PSS);
	cr_expect_eq(pool->jitter, 100);
	config_free(config);
}

/* ---- pools of programs ---- */

Test(config_load, defaults_of_a_program)
{
	const struct program_config *program;

	cr_assert_eq(
		load_text("max_workers = 99 pool a { listen = \":0\" handler = program command = \"/bin/cat\" }", NULL),
		0, "%s", errors);
	cr_expect_eq(config->pools[0].kind, HANDLER_ACCEPTS);
	cr_expect_eq(config->pools[0].handler, &module_program);
	cr_expect_eq(config->pools[0].max_workers, 8, "what waits is all there is");
	cr_expect_eq(config->pools[0].umask, 022);
	cr_expect_str_empty(config->pools[0].chroot);
	cr_expect_str_empty(config->pools[0].module);
	cr_expect_eq(config->pools[0].limit_count, 0);
	cr_expect_eq(config->pools[0].read_timeout_ms, 0, "connections are the program's own");
	cr_expect_eq(config->pools[0].request_timeout_ms, 0);
	program = &config->pools[0].program;
	cr_expect_eq(program->command_count, 1);
	cr_expect_str_eq(program->path, "/bin/cat");
	cr_expect_str_eq(program->directory, "/");
	cr_expect_eq(program->environment_count, 0);
	cr_expect_null(program->environment[0]);
	cr_expect_eq(program->stderr_target, STDERR_LOG);
	cr_expect_eq(program->stdin_source, STDIN_NULL);
	cr_expect_eq(program->stop_signal, SIGTERM);
	cr_expect_eq(program->ready, READY_ALIVE);
	cr_expect_eq(program->notify_access, NOTIFY_MAIN);
	cr_expect_eq(program->ready_after_ms, 1000);
	cr_expect_eq(program->watchdog_timeout_ms, 0);
	config_free(config);
}

Test(config_load, every_field_of_a_program)
{
	const struct program_config *program;

	cr_assert_eq(
		load_text("pool a { listen = \":0\" handler = program command = { \"bin/cat\", \"\", \"-n\" }\n"
			  "directory = \"/tmp\" environment = { \"A=\", \"B=c d\" } stderr = null stdin = listener\n"
			  "stop_signal = SIGQUIT ready = ack ready_after = 2s notify_access = group\n"
			  "watchdog_timeout = 3s umask = 077 }",
			NULL),
		0, "%s", errors);
	program = &config->pools[0].program;
	cr_assert_eq(program->command_count, 3);
	cr_expect_str_eq(program->command[0], "bin/cat");
	cr_expect_str_empty(program->command[1]);
	cr_expect_str_eq(program->command[2], "-n");
	cr_expect_null(program->command[3]);
	cr_expect_str_eq(program->path, "bin/cat", "from the directory, as execve(2) takes it");
	cr_expect_str_eq(program->directory, "/tmp");
	cr_assert_eq(program->environment_count, 2);
	cr_expect_str_eq(program->environment[0], "A=");
	cr_expect_str_eq(program->environment[1], "B=c d");
	cr_expect_null(program->environment[2]);
	cr_expect_eq(program->stderr_target, STDERR_NULL);
	cr_expect_eq(program->stdin_source, STDIN_LISTENER);
	cr_expect_eq(program->stop_signal, SIGQUIT);
	cr_expect_eq(program->ready, READY_ACK);
	cr_expect_eq(program->notify_access, NOTIFY_GROUP);
	cr_expect_eq(program->ready_after_ms, 2000);
	cr_expect_eq(program->watchdog_timeout_ms, 3000);
	cr_expect_eq(config->pools[0].umask, 077);
	config_free(config);
}

Test(config_load, workers_of_an_inetd_pool)
{
	cr_assert_eq(load_text("max_workers = 99\n"
			       "pool a { listen = \":0\" handler = inetd command = \"/bin/cat\" stderr = connection }\n"
			       "pool b { listen = \":0\" handler = inetd command = \"/bin/cat\" max_workers = 12 }\n"
			       "pool c { listen = \":0\" handler = inetd command = \"/bin/cat\" workers = 83 }\n"
			       "pool d { listen = \":0\" handler = plain }\n",
			     NULL),
		-EINVAL);
	/* Those that wait count; those that run programs are of the same pot. */
	cr_expect_str_eq(
		errors, "t.conf:5: pool \"d\": workers = 8 brings all pools to 107 workers; max_workers = 99\n");
	cr_assert_eq(load_text("max_workers = 99\n"
			       "pool a { listen = \":0\" handler = inetd command = \"/bin/cat\" stderr = connection }\n"
			       "pool b { listen = \":0\" handler = inetd command = \"/bin/cat\" max_workers = 12 }\n",
			     NULL),
		0, "%s", errors);
	cr_expect_eq(config->pools[0].kind, HANDLER_BECOMES);
	cr_expect_eq(config->pools[0].max_workers, 99);
	cr_expect_eq(config->pools[0].program.stderr_target, STDERR_CONNECTION);
	cr_expect_eq(config->pools[0].idle_timeout_ms, 0);
	cr_expect_eq(config->pools[1].max_workers, 12);
	config_free(config);
}

Test(config_load, the_most_variables)
{
	enum { MOST = 1000 };
	static char text[MOST * 16 + 256];
	size_t used = (size_t)snprintf(
		text, sizeof(text), "pool a { listen = \":0\" handler = inetd command = \"/bin/cat\"\nenvironment = {");

	for (int i = 0; i < MOST; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "\"V%d=\", ", i);
	snprintf(text + used, sizeof(text) - used, "} }");
	cr_assert_eq(load_text(text, NULL), 0, "%s", errors);
	cr_expect_eq(config->pools[0].program.environment_count, MOST);
	config_free(config);
	snprintf(text + used, sizeof(text) - used, "\n\"W=\" } }");
	cr_expect_eq(load_text(text, NULL), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:3: pool \"a\": environment has more than 1000 variables\n");
}

Test(config_load, limits)
{
	static const struct limit_config expected[] = {
		{RLIMIT_NOFILE, 5            },
                { RLIMIT_CORE,  0            },
                { RLIMIT_CPU,   90           },
                { RLIMIT_AS,    1 << 30      },
		{ RLIMIT_STACK, RLIM_INFINITY},
                { RLIMIT_NICE,  40           }
	};

	cr_assert_eq(load_text("pool a { listen = \":0\" handler = plain limits { stack = unlimited nofile = 5\n"
			       "core = 0 nice = 40 cpu = 90s as = 1G } }",
			     NULL),
		0, "%s", errors);
	cr_assert_eq(config->pools[0].limit_count, sizeof(expected) / sizeof(expected[0]));
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		cr_expect_eq(config->pools[0].limits[i].resource, expected[i].resource, "%zu", i);
		cr_expect_eq(config->pools[0].limits[i].value, expected[i].value, "%zu", i);
	}
	config_free(config);
	cr_expect_eq(
		load_text("pool a { listen = \":0\" handler = plain limits { nofile = 9223372036854775807 } }", NULL),
		-EINVAL);
	cr_expect_str_eq(errors, "t.conf:1: pool \"a\": limits: nofile = 9223372036854775807 is out of range (0 to "
				 "1073741824, or unlimited)\n");
}

static void write_program(const char *path, mode_t mode)
{
	write_file(path, "#!/bin/sh\n", 10);
	cr_assert_eq(chmod(path, mode), 0);
}

/* Loads a program NAME, with the directories a, b and c of the test's own directory as PATH. */
static int load_program(const char *name, const char *chroot, const char *path)
{
	char text[1024];

	snprintf(text, sizeof(text),
		"pool a { listen = \":0\" handler = inetd command = \"%s\" chroot = \"%s\" environment = \"PATH=%s\" }",
		name, chroot, path);
	return load_text(text, NULL);
}

Test(config_load, programs_are_found_in_path, .init = enter_directory, .fini = remove_directory)
{
	char path[256], expected[512];

	cr_assert_eq(mkdir("a", 0755) + mkdir("b", 0755) + mkdir("c", 0755) + mkdir("b/serve", 0755), 0);
	write_program("a/serve", 0644);
	write_program("c/serve", 0755);
	snprintf(path, sizeof(path), "%s/a:c:%s/b:%s/c", directory, directory, directory);
	cr_assert_eq(load_program("serve", "", path), 0, "%s", errors);
	snprintf(expected, sizeof(expected), "%s/c/serve", directory);
	cr_expect_str_eq(config->pools[0].program.path, expected, "the first file that can be executed");
	cr_expect_str_eq(config->pools[0].program.command[0], "serve");
	config_free(config);
	cr_expect_eq(load_program("other", "", path), -EINVAL);
	snprintf(expected, sizeof(expected),
		"t.conf:1: pool \"a\": command = \"other\" is in no directory of PATH (%s)\n", path);
	cr_expect_str_eq(errors, expected);
}

Test(config_load, programs_are_found_in_the_path_of_the_start, .init = enter_directory, .fini = remove_directory)
{
	cr_assert_eq(mkdir("bin", 0755), 0);
	write_program("bin/brood-test-program", 0755);
	cr_assert_eq(setenv("PATH", full_path("bin"), 1), 0);
	cr_expect_eq(load_text("pool a { listen = \":0\" handler = inetd command = brood-test-program }", NULL), 0,
		"%s", errors);
	config_free(config);
	/* Without one, in the usual places. */
	cr_assert_eq(unsetenv("PATH"), 0);
	cr_expect_eq(load_text("pool a { listen = \":0\" handler = inetd command = cat }", NULL), 0, "%s", errors);
	config_free(config);
}

/* Links stay inside of the root, as they will for the workers. */
Test(config_load, programs_and_directories_in_a_chroot, .init = enter_directory, .fini = remove_directory)
{
	cr_assert_eq(
		mkdir("root", 0755) + mkdir("root/bin", 0755) + mkdir("root/srv", 0755) + mkdir("elsewhere", 0755), 0);
	write_program("root/bin/serve", 0755);
	write_program("elsewhere/outside", 0755);
	cr_assert_eq(symlink("/bin", "root/link"), 0);
	cr_assert_eq(symlink("../elsewhere", "root/out"), 0);
	cr_assert_eq(load_program("serve", full_path("root"), "/nowhere:/link"), 0, "%s", errors);
	cr_expect_str_eq(config->pools[0].program.path, "/link/serve");
	config_free(config);
	cr_expect_eq(load_program("outside", full_path("root"), "/out"), -EINVAL);
	cr_expect_eq(load_program("cat", full_path("root"), "/bin"), -EINVAL);
}

Test(config_load, options_of_every_type)
{
	const union brood_value *values;

	cr_assert_eq(load_text("pool a { listen = \":0\" handler = kinds kinds { bool = yes number = 5 size = 2K\n"
			       "duration = 1m text = hello choice = blue list = { x, y } log = \"/tmp/x.log\"\n"
			       "error_log = \"/tmp/x.log\" directory = \"/tmp\" file = \"/no/such\" } }\n"
			       "pool b { listen = \":0\" handler = kinds kinds { log = \"/tmp/y.log\" } }",
			     NULL),
		0, "%s", errors);
	values = config->pools[0].values;
	cr_expect(values[0].on);
	cr_expect_eq(values[1].number, 5);
	cr_expect_eq(values[2].number, 0);
	cr_expect_eq(values[3].number, 2048);
	cr_expect_eq(values[4].number, 60000);
	cr_expect_str_eq(values[5].text, "hello");
	cr_expect_eq(values[6].number, 2);
	cr_expect_str_eq(values[7].list[1], "y");
	cr_expect_null(values[7].list[2]);
	cr_expect_null(values[8].list[0]);
	cr_expect_eq(values[9].number, 1);
	cr_expect_eq(values[10].number, 1, "the same file is the same stream");
	cr_expect_str_eq(values[11].text, "/tmp");
	cr_expect_str_eq(values[12].text, "/no/such");
	values = config->pools[1].values;
	cr_expect_not(values[0].on);
	cr_expect_eq(values[6].number, 1);
	cr_expect_str_eq(values[7].list[0], "one");
	cr_expect_str_eq(values[7].list[1], "two");
	cr_expect_eq(values[9].number, 2);
	cr_expect_eq(values[10].number, 0);
	cr_assert_eq(config->access_count, 2);
	cr_expect_str_eq(config->access_files[0], "/tmp/x.log");
	cr_expect_str_eq(config->access_files[1], "/tmp/y.log");
	config_free(config);
}

Test(config_load, identities)
{
	struct passwd *daemon_user = getpwnam("daemon");
	struct group *group = getgrnam("tty");
	struct identity *identity;
	uid_t daemon_uid;

	cr_assert(daemon_user);
	cr_assert(group);
	daemon_uid = daemon_user->pw_uid; /* the entry itself is overwritten by the next look-up */
	cr_assert_eq(load_text("user = daemon group = tty\n"
			       "pool inherits { listen = \":0\" handler = plain }\n"
			       "pool own { listen = \":0\" handler = plain user = root }\n"
			       "pool number { listen = \":0\" handler = plain user = 54321 group = 54322 }\n"
			       "pool started { listen = \":0\" handler = plain user = \"\" }\n",
			     NULL),
		0, "%s", errors);
	identity = &config->pools[0].identity;
	cr_expect(identity->change);
	cr_expect_eq(identity->uid, daemon_uid);
	cr_expect_eq(identity->gid, group->gr_gid);
	cr_expect_geq(identity->group_count, 1);
	cr_expect_str_eq(identity->user, "daemon");
	identity = &config->pools[1].identity;
	cr_expect_eq(identity->uid, 0);
	cr_expect_eq(identity->gid, 0, "the global group goes with the global user");
	identity = &config->pools[2].identity;
	cr_expect_eq(identity->uid, 54321);
	cr_expect_eq(identity->gid, 54322);
	cr_assert_eq(identity->group_count, 1);
	cr_expect_eq(identity->groups[0], 54322);
	cr_expect_not(config->pools[3].identity.change);
	config_free(config);
}

Test(config_load, command_line_goes_over_the_file)
{
	struct config_overrides overrides = { .pidfile = "/tmp/x.pid", .log_target = "syslog", .log_level = 7 };
	const char *text = "pidfile = \"/tmp/y.pid\" log_target = stderr log_level = error\n"
			   "pool a { listen = \":0\" handler = plain }";

	cr_assert_eq(load_text(text, &overrides), 0, "%s", errors);
	cr_expect_str_eq(config->pidfile, "/tmp/x.pid");
	cr_expect_str_eq(config->log_target, "syslog");
	cr_expect_eq(config->log_level, LOG_LEVEL_DEBUG);
	config_free(config);
	overrides = (struct config_overrides){ .log_level = -1 };
	cr_assert_eq(load_text(text, &overrides), 0, "%s", errors);
	cr_expect_str_eq(config->pidfile, "/tmp/y.pid");
	cr_expect_eq(config->log_level, LOG_LEVEL_ERROR);
	config_free(config);
	overrides.pidfile = "relative.pid";
	cr_assert_eq(load_text(text, &overrides), -EINVAL);
	cr_expect_str_eq(errors, "command line: pidfile = relative.pid is not an absolute path\n");
}

Test(config_load, again_and_again_in_one_process)
{
	int before = dup(0), after;

	close(before);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(load_text("pool a { listen = \":0\" handler = plain }", NULL), 0, "%s", errors);
		config_free(config);
		cr_assert_eq(load_text("pool a { listen = \":0\" handler = plain workers = \"", NULL), -EINVAL);
		cr_assert_null(config);
	}
	after = dup(0);
	close(after);
	cr_expect_eq(after, before, "descriptors stay open");
}

Test(config_load, text_in_memory_includes_nothing)
{
	cr_assert_eq(load_text("include(\"/etc/passwd\")\npool a { listen = \":0\" handler = plain }", NULL), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:1: include: no other files may be read here\n");
}

/* ---- files ---- */

Test(config_load, files_that_are_none, .init = enter_directory, .fini = remove_directory)
{
	cr_assert_eq(mkdir("directory", 0755), 0);
	cr_assert_eq(mkfifo("fifo", 0644), 0);
	cr_expect_eq(load_file("directory"), -EINVAL);
	cr_expect_str_eq(errors, "directory: is a directory, not a file\n");
	cr_expect_eq(load_file("fifo"), -EINVAL);
	cr_expect_str_eq(errors, "fifo: is not a regular file\n");
	cr_expect_eq(load_file("/dev/null"), -EINVAL);
	cr_expect_str_eq(errors, "/dev/null: is not a regular file\n");
	cr_expect_eq(load_file("missing"), -EINVAL);
	cr_expect_str_eq(errors, "missing: No such file or directory\n");
}

Test(config_load, size_of_one_file, .init = enter_directory, .fini = remove_directory)
{
	static char text[SOURCE_FILE_MAX + 1];
	const char *pool = "pool a { listen = \":0\" handler = plain }\n";

	memset(text, '\n', sizeof(text));
	memcpy(text, pool, strlen(pool));
	write_file("large.conf", text, SOURCE_FILE_MAX);
	cr_expect_eq(load_file("large.conf"), 0, "%s", errors);
	config_free(config);
	write_file("large.conf", text, SOURCE_FILE_MAX + 1);
	cr_expect_eq(load_file("large.conf"), -EINVAL);
	cr_expect_str_eq(errors, "large.conf: is larger than 1 MiB\n");
}

Test(config_load, size_of_all_files, .init = enter_directory, .fini = remove_directory)
{
	static char text[SOURCE_FILE_MAX];
	const char *includes = "include(\"a\") include(\"a\") include(\"a\")\ninclude(\"a\") include(\"a\")\n";

	memset(text, '\n', sizeof(text));
	write_file("a", text, sizeof(text));
	write_file("all.conf", includes, strlen(includes));
	cr_expect_eq(load_file("all.conf"), -EINVAL);
	cr_expect_str_eq(errors, "all.conf:2: include: with a the files have more than 4 MiB together\n");
}

/* A directory's name is no pattern, even where it looks like one. */
Test(config_load, wildcards_only_in_the_include, .init = enter_directory, .fini = remove_directory)
{
	const char *pool = "pool a { listen = \":0\" handler = plain }\n";

	cr_assert_eq(mkdir("[ab]*", 0755), 0);
	cr_assert_eq(mkdir("a", 0755), 0);
	write_file("[ab]*/brood.conf", "include(\"*.inc\")", 16);
	write_file("[ab]*/pool.inc", pool, strlen(pool));
	write_file("a/pool.inc", "bad", 3);
	cr_expect_eq(load_file("[ab]*/brood.conf"), 0, "%s", errors);
	config_free(config);
}

Test(config_load, deep_nesting_is_no_recursion)
{
	enum { DEPTH = 300000 };
	char *text = malloc(5 + 2 * DEPTH + 1);

	cr_assert(text);
	strcpy(text, "zebra");
	memset(text + 5, '{', 2 * DEPTH);
	text[5 + 2 * DEPTH] = '\0';
	cr_expect_eq(load_text(text, NULL), -EINVAL);
	memset(text + 5 + DEPTH, '}', DEPTH);
	cr_expect_eq(load_text(text, NULL), -EINVAL);
	free(text);
}

Test(config_load, very_many_errors_are_counted)
{
	size_t lines = 0;
	char *text = malloc(2000 * 8 + 1);

	cr_assert(text);
	for (int i = 0; i < 2000; i++)
		memcpy(text + (size_t)8 * (size_t)i, "zebra=1\n", 8);
	text[16000] = '\0';
	cr_expect_eq(load_text(text, NULL), -EINVAL);
	for (char *c = errors; *c; c++)
		lines += *c == '\n';
	cr_expect_eq(lines, 1001);
	cr_expect(strstr(errors, "and 1000 errors more\n"), "%s", strstr(errors, "and "));
	free(text);
}
