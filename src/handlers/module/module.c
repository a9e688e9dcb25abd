/* SPDX-License-Identifier: MIT */
/*
 * The handler `module`: loads a shared object in the worker, after its privileges are dropped, and passes on to it.
 */
#include "base/log.h"
#include "build_config.h"
#include "handlers/handlers.h"
#include "handlers/module/load.h"
#include "worker/host.h"

#define REASON_MAX 1024

/* A worker has one. */
static struct {
	const struct brood_module *module;
	void *state;
	struct brood_start start; /* what the module is given, for as long as the worker lives */
} loaded;

static int load(const struct pool_config *pool)
{
	char reason[REASON_MAX];
	int result = module_load(pool->module, &loaded.module, reason, sizeof(reason));

	if (result == 0)
		result = module_compare(loaded.module, pool->description, reason, sizeof(reason));
	if (result < 0)
		log_event(LOG_LEVEL_ERROR, "cannot use the module", LOG_TEXT("pool", pool->name),
			LOG_TEXT("module", pool->module), LOG_TEXT("reason", reason));
	return result;
}

static int start(const struct brood_start *arguments, void **ret_state)
{
	int result = load(arguments->host->pool);

	if (result < 0)
		return result;
	loaded.start = *arguments;
	loaded.start.host = NULL; /* the daemon's own */
	*ret_state = NULL;
	return loaded.module->start == NULL ? 0 : loaded.module->start(&loaded.start, &loaded.state);
}

static int serve(void *state, struct brood_stream *stream)
{
	(void)state;
	return loaded.module->serve(loaded.state, stream);
}

static void stop(void *state)
{
	(void)state;
	if (loaded.module->stop != NULL)
		loaded.module->stop(loaded.state);
}

const struct brood_module handler_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "module",
	.version = BROOD_VERSION,
	.start = start,
	.serve = serve,
	.stop = stop,
};
