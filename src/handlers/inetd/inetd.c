/* SPDX-License-Identifier: MIT */
/*
 * inetd: a worker accepts, and becomes the program that serves the connection. What it does before is not the loop's,
 * which such a pool has none of, but worker/waiter.c's.
 */
#include "build_config.h"
#include "handlers/handlers.h"

const struct brood_module handler_inetd = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "inetd",
	.version = BROOD_VERSION,
};
