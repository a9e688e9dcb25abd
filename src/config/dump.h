/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_DUMP_H
#define CONFIG_DUMP_H
/* Single values, as config_dump() writes them: so that the configuration file takes them back. */
#include <stdio.h>

#include "brood/module.h"
#include "config/config.h"
#include "config/schema.h"

/* The value of a key in OBJECT, which is a struct config or a struct pool_config, by the key's section. */
void dump_key_value(const struct key *key, const void *object_of_key, FILE *out);

/* The value of an option in a pool of CONFIG. */
void dump_option_value(
	const struct config *config, const struct brood_option *option, const union brood_value *value, FILE *out);

#endif
