/* SPDX-License-Identifier: MIT */
/*
 * modulehost: serves a unix socket with a module, in one process, linked by the rule of the daemon: what a module's own
 * test needs of brood, without the daemon.
 *
 *	modulehost MODULE.so SOCKET [VALUE...]      a value for each option of the module, in their order
 *
 * It prints "ready", and a line for each connection: how serve() ended, and how many requests there were. It ends after
 * the connection that was being served when SIGTERM came, and calls stop().
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <brood/module.h>

#include "libbrood/stream_private.h"

#define OPTIONS_MAX 32

static volatile sig_atomic_t ending;

static void on_term(int number)
{
	ending = 1;
}

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "modulehost: %s: %s\n", what, why);
	exit(1);
}

static const struct brood_module *load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct brood_module *module = handle ? dlsym(handle, BROOD_MODULE_SYMBOL) : NULL;

	if (!module)
		die(path, dlerror());
	if (module->abi != BROOD_MODULE_ABI || module->size != sizeof(*module))
		die(path, "made for another brood");
	return module;
}

static void parse_values(const struct brood_option *option, char **texts, union brood_value *values)
{
	for (; option && option->name; option++, texts++, values++) {
		if (!*texts)
			die(option->name, "has no value");
		if (option->type == BROOD_OPTION_BOOL)
			values->on = strcmp(*texts, "on") == 0;
		else if (option->type == BROOD_OPTION_TEXT || option->type == BROOD_OPTION_DIRECTORY)
			values->text = *texts;
		else
			values->number = strtoll(*texts, NULL, 10);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die(path, strerror(ENAMETOOLONG));
	strcpy(address.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
		die(path, strerror(errno));
	return fd;
}

static void write_log(int priority, const char *text)
{
	printf("log %d %s\n", priority, text);
}

static void serve(const struct brood_module *module, void *state, int listener)
{
	struct brood_stream stream;

	brood_stream_init(&stream, NULL);
	while (!ending) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		int ret;

		if (fd < 0)
			continue;
		brood_stream_attach(&stream, fd, &(struct brood_timeouts){ 0 });
		ret = module->serve(state, &stream);
		brood_close(&stream);
		printf("served %d requests %u\n", ret, stream.requests);
	}
	brood_stream_done(&stream);
}

int main(int argc, char **argv)
{
	static union brood_value values[OPTIONS_MAX];
	struct brood_start start = { .pool = "test", .values = values, .log = write_log };
	struct sigaction term = { .sa_handler = on_term };
	const struct brood_module *module;
	void *state = NULL;
	int listener, ret;

	if (argc < 3)
		die("usage", "modulehost MODULE.so SOCKET [VALUE...]");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &term, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	module = load(argv[1]);
	parse_values(module->options, argv + 3, values);
	ret = module->start ? module->start(&start, &state) : 0;
	if (ret < 0)
		die("start", strerror(-ret));
	listener = listen_at(argv[2]);
	printf("ready\n");
	serve(module, state, listener);
	if (module->stop)
		module->stop(state);
	printf("stopped\n");
	return 0;
}
