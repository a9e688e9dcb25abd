/* SPDX-License-Identifier: MIT */
#include "look/system_call.h"

#include <stddef.h>
#include <sys/syscall.h>

#include "base/attrs.h"

static const char *const names[] = {
#include "system_call_names.h"
};

const char *system_call_name(long number)
{
	return number >= 0 && (size_t)number < ARRAY_SIZE(names) ? names[number] : NULL;
}
