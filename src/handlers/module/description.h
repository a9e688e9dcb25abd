/* SPDX-License-Identifier: MIT */
#ifndef HANDLERS_MODULE_DESCRIPTION_H
#define HANDLERS_MODULE_DESCRIPTION_H
/*
 * What a module says of itself, on its way out of the process that has loaded it: name, version and options as bytes.
 * The writer runs beside foreign code, so the reader takes every byte for a stranger's.
 */
#include <stddef.h>

#include <brood/module.h>

#include "base/attrs.h"
#include "config/names.h"
#include "worker/probe.h"

/* The most that is believed. */
enum {
	DESCRIPTION_NAME_MAX = OPTION_NAME_MAX,
	DESCRIPTION_TEXT_MAX = 4096,
	DESCRIPTION_OPTIONS_MAX = MODULE_OPTIONS_MAX,
	DESCRIPTION_CHOICES_MAX = 64,
};

/* In the child. What is too long is cut so that the reader sees it. */
void description_write(const struct brood_module *module, struct probe_answer *answer);

/*
 * In the parent. DATA of SIZE bytes, from malloc() and with a 0 behind it, becomes part of the result, or is freed.
 * Returns 0 and the description, whose functions are NULL; or a negative errno with the reason in REASON of REASON_SIZE
 * bytes: -EBADMSG if the bytes make no sense, -EINVAL if what they say does not.
 */
ATTR_NODISCARD int description_read(
	char *data, size_t size, struct brood_module **ret_description, char *reason, size_t reason_size);

/* NULL is nothing to free. */
void description_free(struct brood_module *description);

#endif
