/* SPDX-License-Identifier: MIT */
#include "handlers/module/load.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The module's own numbers come first in the struct, wherever it was compiled. */
static int check_numbers(const struct brood_module *module, char *reason, size_t size)
{
	if (module->abi != BROOD_MODULE_ABI) {
		snprintf(reason, size, "was compiled for module ABI %u, and this brood has %d", module->abi,
			BROOD_MODULE_ABI);
		return -EPROTO;
	}
	if (module->size != sizeof(*module)) {
		snprintf(reason, size, "has a struct brood_module of %u bytes, and this brood's has %zu", module->size,
			sizeof(*module));
		return -EPROTO;
	}
	return 0;
}

static int check_module(const struct brood_module *module, char *reason, size_t size)
{
	int result = check_numbers(module, reason, size);

	if (result < 0)
		return result;
	if (module->name == NULL || module->serve == NULL) {
		snprintf(reason, size, "has a brood_module without %s", module->name == NULL ? "name" : "serve()");
		return -EPROTO;
	}
	return 0;
}

/* What the loader says; where it begins with the path, which the reason continues, without that. */
static const char *loader_reason(const char *path)
{
	const char *error = dlerror();
	size_t size = strlen(path);

	if (error == NULL)
		return "no reason given";
	return strncmp(error, path, size) == 0 && strncmp(error + size, ": ", 2) == 0 ? error + size + 2 : error;
}

int module_load(const char *path, const struct brood_module **ret_module, char *reason, size_t size)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct brood_module *module;
	int result;

	if (handle == NULL) {
		snprintf(reason, size, "cannot be loaded: %s", loader_reason(path));
		return -ENOEXEC;
	}
	module = dlsym(handle, BROOD_MODULE_SYMBOL);
	if (module == NULL) {
		snprintf(reason, size, "is no module: it does not define " BROOD_MODULE_SYMBOL);
		return -EPROTO;
	}
	result = check_module(module, reason, size);
	if (result == 0)
		*ret_module = module;
	return result;
}

/* ---- whether it is the one that was described ---- */

static size_t count_options(const struct brood_module *module)
{
	size_t count = 0;

	while (module->options != NULL && module->options[count].name != NULL)
		count++;
	return count;
}

static bool same_choices(const char *const *one, const char *const *other)
{
	if (one == NULL || other == NULL)
		return one == other;
	for (; *one != NULL && *other != NULL; one++, other++)
		if (strcmp(*one, *other) != 0)
			return false;
	return *one == *other;
}

static bool same_option(const struct brood_option *one, const struct brood_option *other)
{
	return strcmp(one->name, other->name) == 0 && one->type == other->type && one->min == other->min &&
	       one->max == other->max &&
	       (one->type != BROOD_OPTION_CHOICE || same_choices(one->choices, other->choices));
}

int module_compare(const struct brood_module *module, const struct brood_module *description, char *reason, size_t size)
{
	size_t count = count_options(description);
	bool same = strcmp(module->name, description->name) == 0 && count_options(module) == count;

	for (size_t i = 0; i < count && same; i++)
		same = same_option(&module->options[i], &description->options[i]);
	if (same)
		return 0;
	snprintf(reason, size, "is another one than when the configuration was read: its name or its options differ");
	return -ESTALE;
}
