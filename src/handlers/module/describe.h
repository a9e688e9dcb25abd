/* SPDX-License-Identifier: MIT */
#ifndef HANDLERS_MODULE_DESCRIBE_H
#define HANDLERS_MODULE_DESCRIBE_H
/*
 * What the configuration has to know of a module: asked in a short-lived child (worker/probe.h), so that no foreign
 * code ever runs in the master. Reasons continue the module's path, and are escaped.
 */
#include <stddef.h>

#include <brood/module.h>

#include "base/attrs.h"
#include "config/config.h"

/* Loads pool->module, and brings its name, version and options. Returns 0, or a negative errno with the reason. */
ATTR_NODISCARD int module_describe(
	const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size);

void module_description_free(struct brood_module *description);

/* As bytes that description_read() takes (handlers/module/description.h). Returns 0, to be freed, or -ENOMEM. */
ATTR_NODISCARD int module_description_encode(const struct brood_module *description, char **ret_data, size_t *ret_size);

/* Has the module look at pool->values, which go with pool->description. Returns 0, or a negative errno with the
 * reason. */
ATTR_NODISCARD int module_check(const struct pool_config *pool, char *reason, size_t size);

#endif
