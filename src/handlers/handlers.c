/* SPDX-License-Identifier: MIT */
#include "handlers/handlers.h"

#include "build_config.h"

const struct brood_module *const handlers_builtin[] = {
	&handler_echo,
#if HAVE_HTTP
	&handler_http,
#endif
	&handler_inetd,
	&handler_program,
	&handler_module,
	NULL,
};
