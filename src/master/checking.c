/* SPDX-License-Identifier: MIT */
#include "master/checking.h"

#include "base/fd.h"
#include "master/master_private.h"

int checking_watch(const struct master *master, const struct checker *checker, enum watch_kind kind)
{
	return master_watch(master, checker->errors_fd, &(struct watch){ .kind = kind });
}

void checking_hear(const struct master *master, struct checker *checker)
{
	if (checker->errors_fd < 0 || checker_read(checker))
		return;
	master_unwatch(master, checker->errors_fd);
	fd_close(&checker->errors_fd);
}

void checking_unwatch(const struct master *master, const struct checker *checker)
{
	if (checker->errors_fd >= 0)
		master_unwatch(master, checker->errors_fd);
}
