/* SPDX-License-Identifier: MIT */
#include "handlers/module/describe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "handlers/module/description.h"
#include "handlers/module/load.h"
#include "worker/probe.h"

/* ---- in the child ---- */

static const struct brood_module *load(const struct pool_config *pool, struct probe_answer *answer)
{
	const struct brood_module *module = NULL;
	char buffer[PATH_MAX], reason[PROBE_REASON_MAX];

	if (module_load(probe_path(pool, pool->module, buffer), &module, reason, sizeof(reason)) < 0)
		probe_refuse(answer, "%s", reason);
	return module;
}

static void describe(const struct pool_config *pool, struct probe_answer *answer)
{
	const struct brood_module *module = load(pool, answer);

	if (module != NULL)
		description_write(module, answer);
}

static void check(const struct pool_config *pool, struct probe_answer *answer)
{
	const struct brood_module *module = load(pool, answer);
	char reason[PROBE_REASON_MAX] = "";
	int result;

	if (module == NULL)
		return;
	if (module_compare(module, pool->description, reason, sizeof(reason)) < 0) {
		probe_refuse(answer, "%s", reason);
		return;
	}
	result = module->check == NULL ? 0 : module->check(pool->values, reason, sizeof(reason));
	reason[sizeof(reason) - 1] = '\0';
	if (result < 0)
		probe_refuse(answer, "%s", reason[0] != '\0' ? reason : log_strerror(result));
}

/* ---- in the parent ---- */

/* What a description says is a stranger's text until it was accepted, and may stand in the reason. */
static void escape_reason(char *reason, size_t size)
{
	char escaped[PROBE_REASON_MAX];

	log_escape(reason, escaped, sizeof(escaped));
	if (size > 0) {
		strncpy(reason, escaped, size - 1);
		reason[size - 1] = '\0';
	}
}

int module_describe(const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	char *answer;
	size_t answer_size;
	int result = probe_run(
		pool, describe, "cannot be loaded: its process", PROBE_TIMEOUT_MS, &answer, &answer_size, reason, size);

	if (result < 0)
		return result;
	result = description_read(answer, answer_size, ret_description, reason, size);
	if (result < 0)
		escape_reason(reason, size);
	return result;
}

void module_description_free(struct brood_module *description)
{
	description_free(description);
}

int module_description_encode(const struct brood_module *description, char **ret_data, size_t *ret_size)
{
	struct probe_answer *answer = calloc(1, sizeof(*answer));
	char *data = NULL;

	if (answer != NULL) {
		description_write(description, answer);
		data = malloc(answer->size + 1);
	}
	/* It came as an answer, and so is no longer than one. */
	if (data != NULL) {
		memcpy(data, answer->data, answer->size);
		data[answer->size] = '\0';
		*ret_data = data;
		*ret_size = answer->size;
	}
	free(answer);
	return data == NULL ? -ENOMEM : 0;
}

int module_check(const struct pool_config *pool, char *reason, size_t size)
{
	char *answer;
	size_t answer_size;
	int result = probe_run(
		pool, check, "cannot be checked: its process", PROBE_TIMEOUT_MS, &answer, &answer_size, reason, size);

	if (result < 0)
		return result;
	free(answer);
	return 0;
}
