/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_IDENTITY_H
#define CONFIG_IDENTITY_H
/*
 * Users and groups, by name or number, to what the kernel wants. This asks the name service, which may take its time:
 * the master does it once, before it starts anything.
 */
#include "base/attrs.h"
#include "config/arena.h"
#include "config/config.h"
#include "config/values.h"

/* Resolves USER. *ret_name, where not NULL, is its name in the user database, or NULL for a number without one, whose
 * group is then GID_NONE. Returns 0, or a negative errno with REASON, of VALUE_REASON_MAX bytes. */
ATTR_NODISCARD int identity_user(
	struct arena *arena, const char *user, uid_t *ret_uid, gid_t *ret_gid, char **ret_name, char *reason);
ATTR_NODISCARD int identity_group(const char *group, gid_t *ret_gid, char *reason);

/*
 * Whom workers with USER and GROUP become, either of which may be "". Without a group it is the user's; supplementary
 * groups are the user's (getgrouplist(3)); for a group alone, or a number that is no user's, there is only the group.
 * Returns 0, or a negative errno with REASON of VALUE_REASON_MAX bytes, in words that continue `user = value`.
 */
ATTR_NODISCARD int identity_resolve(
	struct arena *arena, const char *user, const char *group, struct identity *ret_identity, char *reason);

#define GID_NONE ((gid_t)-1)
#define UID_NONE ((uid_t)-1)

#endif
