/* SPDX-License-Identifier: MIT */
#ifndef HANDLERS_HANDLERS_H
#define HANDLERS_HANDLERS_H
/* The handlers that are compiled in. */
#include <brood/module.h>

extern const struct brood_module handler_echo;
extern const struct brood_module handler_http;
extern const struct brood_module handler_inetd;
extern const struct brood_module handler_module;
extern const struct brood_module handler_program;

/* All of them, ended by NULL, in the order of the manual. */
extern const struct brood_module *const handlers_builtin[];

#endif
