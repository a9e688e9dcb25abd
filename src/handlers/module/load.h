/* SPDX-License-Identifier: MIT */
#ifndef HANDLERS_MODULE_LOAD_H
#define HANDLERS_MODULE_LOAD_H
/*
 * Loading a module: foreign code, which runs from here on, with the rights of this process. In a worker, or in a child
 * of worker/probe.h; never in the master.
 */
#include <stddef.h>

#include <brood/module.h>

#include "base/attrs.h"

/*
 * Loads the shared object PATH for good. Returns 0 and what it is, or a negative errno with the reason in REASON of
 * SIZE bytes, which continues the path: -ENOEXEC if the loader refuses it, -EPROTO if it is no module that this brood
 * runs.
 */
ATTR_NODISCARD int module_load(const char *path, const struct brood_module **ret_module, char *reason, size_t size);

/*
 * Whether MODULE still is what DESCRIPTION says: the values of its options go with that one. Returns 0, or -ESTALE with
 * the reason.
 */
ATTR_NODISCARD int module_compare(
	const struct brood_module *module, const struct brood_module *description, char *reason, size_t size);

#endif
