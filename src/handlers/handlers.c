/* SPDX-License-Identifier: MIT */
#include "handlers/handlers.h"

const struct brood_module *const handlers_builtin[] = {
	&handler_echo,
	&handler_http,
	NULL,
};
