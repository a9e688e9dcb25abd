/* SPDX-License-Identifier: MIT */
#include "config/identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether TEXT is a number; -1 as an unsigned number means "leave it" to chown(2) and setresuid(2) and is none. */
static bool parse_id(const char *text, uint32_t *ret_id)
{
	const struct value_rule rule = { .kind = VALUE_NUMBER, .max = UINT32_MAX - 1 };
	char reason[VALUE_REASON_MAX];
	int64_t number;

	if (value_parse(&rule, text, &number, reason) < 0)
		return false;
	*ret_id = (uint32_t)number;
	return true;
}

/* getpwnam(3) and its kin leave errno at 0, or one of these, where the name just is not there. */
static int refuse_unknown(const char *what, char *reason)
{
	int error = errno;

	if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM) {
		snprintf(reason, VALUE_REASON_MAX, "is not a %s of this machine; accepted are a name and a number",
			what);
		return -ENOENT;
	}
	snprintf(reason, VALUE_REASON_MAX, "cannot be looked up: %s", strerrordesc_np(error));
	return -error;
}

int identity_user(struct arena *arena, const char *user, uid_t *ret_uid, gid_t *ret_gid, char **ret_name, char *reason)
{
	struct passwd *entry;
	uint32_t id;
	bool is_number = parse_id(user, &id);

	errno = 0;
	entry = is_number ? getpwuid(id) : getpwnam(user);
	if (!entry && !is_number)
		return refuse_unknown("user", reason);
	*ret_uid = entry ? entry->pw_uid : id;
	*ret_gid = entry ? entry->pw_gid : GID_NONE;
	if (ret_name)
		*ret_name = entry ? arena_text(arena, entry->pw_name) : NULL;
	return 0;
}

int identity_group(const char *group, gid_t *ret_gid, char *reason)
{
	struct group *entry;
	uint32_t id;

	if (parse_id(group, &id)) {
		*ret_gid = id;
		return 0;
	}
	errno = 0;
	entry = getgrnam(group);
	if (!entry)
		return refuse_unknown("group", reason);
	*ret_gid = entry->gr_gid;
	return 0;
}

static int supplementary_groups(struct arena *arena, const char *name, struct identity *identity, char *reason)
{
	int count = 0;

	/* The first call counts: it returns -1 unless there are none, which cannot be, since GID is among them. */
	getgrouplist(name, identity->gid, NULL, &count);
	identity->groups = arena_alloc(arena, (size_t)count * sizeof(gid_t));
	if (!identity->groups || getgrouplist(name, identity->gid, identity->groups, &count) < 0) {
		snprintf(reason, VALUE_REASON_MAX, "has supplementary groups that cannot be listed");
		return -ENOMEM;
	}
	identity->group_count = (size_t)count;
	return 0;
}

static int single_group(struct arena *arena, struct identity *identity, char *reason)
{
	identity->groups = arena_alloc(arena, sizeof(gid_t));
	if (!identity->groups) {
		snprintf(reason, VALUE_REASON_MAX, "cannot be resolved: no memory");
		return -ENOMEM;
	}
	identity->groups[0] = identity->gid;
	identity->group_count = 1;
	return 0;
}

int identity_resolve(
	struct arena *arena, const char *user, const char *group, struct identity *ret_identity, char *reason)
{
	struct identity identity = { .uid = geteuid(), .gid = getegid() };
	char *name = NULL;
	int result;

	identity.change = user[0] != '\0' || group[0] != '\0';
	identity.user = arena_text(arena, user);
	identity.group = arena_text(arena, group);
	if (user[0] != '\0') {
		result = identity_user(arena, user, &identity.uid, &identity.gid, &name, reason);
		if (result < 0)
			return result;
	}
	if (identity.gid == GID_NONE && group[0] == '\0') {
		snprintf(reason, VALUE_REASON_MAX, "is not in the user database, so that a group must be given too");
		return -EINVAL;
	}
	if (group[0] != '\0') {
		result = identity_group(group, &identity.gid, reason);
		if (result < 0)
			return result;
	}
	if (identity.change) {
		result = name ? supplementary_groups(arena, name, &identity, reason)
			      : single_group(arena, &identity, reason);
		if (result < 0)
			return result;
	}
	*ret_identity = identity;
	return 0;
}
