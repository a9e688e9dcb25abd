/* SPDX-License-Identifier: MIT */
/*
 * The rule by which the daemon is linked: a module's calls reach the daemon's own copy of libbrood, however the module
 * was linked, and nothing else of the daemon gets in its way.
 */
#include "tests/unit/stream_pair.h"

#include <dlfcn.h>
#include <stdio.h>

#include <brood/message.h>
#include <brood/module.h>

typedef void (*any_call)(void);

static const char *const linked[] = { "shared", "static", "alone" };

static void *fixture_load(const char *how)
{
	const char *directory = getenv("BROOD_TEST_BUILD");
	char path[4096];
	void *handle;

	cr_assert_not_null(directory, "the test is run by meson");
	snprintf(path, sizeof(path), "%s/libmodule_fixture_%s.so", directory, how);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	cr_assert_not_null(handle, "%s", dlerror());
	return handle;
}

Test(module_link, a_module_is_found_by_its_symbol)
{
	for (size_t k = 0; k < 3; k++) {
		const struct brood_module *module = dlsym(fixture_load(linked[k]), BROOD_MODULE_SYMBOL);

		cr_assert_not_null(module);
		cr_assert_eq(module->abi, BROOD_MODULE_ABI);
		cr_assert_eq(module->size, sizeof(*module));
		cr_assert_str_eq(module->name, "fixture");
	}
}

Test(module_link, its_calls_reach_the_copy_of_the_program)
{
	for (size_t k = 0; k < 3; k++) {
		const any_call *calls = dlsym(fixture_load(linked[k]), "fixture_calls");

		cr_assert_not_null(calls);
		cr_assert_eq(calls[0], (any_call)brood_message_read, "%s", linked[k]);
		cr_assert_eq(calls[1], (any_call)brood_message_write, "%s", linked[k]);
		cr_assert_eq(calls[2], (any_call)brood_close, "%s", linked[k]);
	}
}

Test(module_link, it_serves_a_stream_of_the_program)
{
	for (size_t k = 0; k < 3; k++) {
		const struct brood_module *module = dlsym(fixture_load(linked[k]), BROOD_MODULE_SYMBOL);
		struct stream_pair pair;
		char bytes[32];

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, "one\ntwo\n", 8);
		shutdown(pair.peer, SHUT_WR);
		cr_assert_eq(module->serve(NULL, &pair.stream), 42, "its own log_event() is called");
		cr_assert_eq(pair.stream.requests, 2);
		cr_assert_eq(pair.stream.bytes_out, 8);
		brood_close(&pair.stream);
		cr_assert_eq(peer_receive_all(pair.peer, bytes, sizeof(bytes)), 8);
		cr_assert_arr_eq(bytes, "one\ntwo\n", 8);
		pair_done(&pair);
	}
}

Test(module_link, the_program_exports_the_public_calls_alone)
{
	static const char *const own[] = { "brood_stream_init", "brood_stream_attach", "wait_for_events", "log_event",
		"handler_echo", "cfg_parse" };

	cr_assert_not_null(dlsym(RTLD_DEFAULT, "brood_message_read"));
	for (size_t k = 0; k < sizeof(own) / sizeof(own[0]); k++)
		cr_assert_null(dlsym(RTLD_DEFAULT, own[k]), "%s", own[k]);
}
