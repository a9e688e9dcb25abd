/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/notify.h"
#include "policy/deadline.h"

/* A service manager: a datagram socket in the abstract name space. */
static int manager;

static void setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(address);
	char path[sizeof(address.sun_path) + 1];

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(manager, 0);
	cr_assert_eq(bind(manager, (struct sockaddr *)&address, sizeof(sa_family_t)), 0, "the kernel chooses a name");
	cr_assert_eq(getsockname(manager, (struct sockaddr *)&address, &size), 0);
	snprintf(path, sizeof(path), "@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
		address.sun_path + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

TestSuite(notify, .init = setup);

/* The next message, or "" if there is none. */
static const char *heard(void)
{
	static char message[1024];
	ssize_t size = recv(manager, message, sizeof(message) - 1, 0);

	message[size > 0 ? size : 0] = '\0';
	return message;
}

Test(notify, says_nothing_where_nobody_listens)
{
	struct notify notify;

	unsetenv("NOTIFY_SOCKET");
	notify_init(&notify, 0);
	notify_ready(&notify);
	cr_assert_eq(notify_flush(&notify, 0), DEADLINE_NONE);
	notify_done(&notify);
}

Test(notify, a_name_that_is_no_address_is_refused)
{
	struct notify notify;

	setenv("NOTIFY_SOCKET", "relative/path", 1);
	notify_init(&notify, 0);
	cr_assert_lt(notify.fd, 0);
}

Test(notify, no_child_sees_the_variables)
{
	struct notify notify;

	setenv("WATCHDOG_USEC", "1000000", 1);
	notify_init(&notify, 0);
	cr_assert_null(getenv("NOTIFY_SOCKET"));
	cr_assert_null(getenv("WATCHDOG_USEC"));
	cr_assert_null(getenv("WATCHDOG_PID"));
	notify_done(&notify);
}

Test(notify, ready_and_status_come_in_one_message_once)
{
	struct notify notify;

	notify_init(&notify, 0);
	notify_ready(&notify);
	notify_status(&notify, "serving: web 8/8");
	cr_assert_eq(notify_flush(&notify, 5), 1005, "whether the status is still the same");
	cr_assert_str_eq(heard(), "READY=1\nSTATUS=serving: web 8/8\n");
	notify_status(&notify, "serving: web 8/8");
	notify_flush(&notify, 6);
	cr_assert_str_eq(heard(), "", "what has not changed is not said again");
	notify_stopping(&notify);
	notify_flush(&notify, 7);
	cr_assert_str_eq(heard(), "STOPPING=1\n");
	notify_done(&notify);
}

Test(notify, a_status_is_said_once_a_second_at_most)
{
	struct notify notify;

	notify_init(&notify, 0);
	cr_assert(notify_wants_status(&notify, 10));
	notify_status(&notify, "serving: web 8/8");
	notify_flush(&notify, 10);
	cr_assert_str_eq(heard(), "STATUS=serving: web 8/8\n");
	cr_assert_not(notify_wants_status(&notify, 11));
	cr_assert_eq(notify_flush(&notify, 1009), 1010);
	cr_assert(notify_wants_status(&notify, 1010));
	notify_status(&notify, "serving: web 8/8");
	cr_assert_eq(notify_flush(&notify, 1010), DEADLINE_NONE, "the same: nothing to wake for");
	notify_status(&notify, "serving: web 7/8");
	cr_assert_eq(notify_flush(&notify, 1011), 2011);
	cr_assert_str_eq(heard(), "STATUS=serving: web 7/8\n");
	notify_stopping(&notify);
	cr_assert(notify_wants_status(&notify, 1012), "with what else there is to say");
	notify_done(&notify);
	cr_assert_not(notify_wants_status(&notify, 5000), "to nobody");
}

/* A manager that does not read must cost no time, and lose nothing once it reads. */
Test(notify, a_full_queue_is_tried_again_later)
{
	struct notify notify;
	uint64_t retry_ms;
	int sent;

	notify_init(&notify, 0);
	for (sent = 0; sent < 100000 && !notify.status_changed; sent++) {
		char status[32];

		snprintf(status, sizeof(status), "status %d", sent);
		notify_status(&notify, status);
		notify_flush(&notify, 1000);
	}
	cr_assert(notify.status_changed, "the queue never filled");
	retry_ms = notify_flush(&notify, 1000);
	cr_assert_gt(retry_ms, 1000);
	cr_assert_lt(retry_ms, 2000, "before the next status");
	notify_ready(&notify);
	notify_flush(&notify, 1000);
	cr_assert(notify.ready, "kept");
	while (*heard() != '\0')
		;
	cr_assert_eq(notify_flush(&notify, retry_ms + 1000), retry_ms + 2000);
	cr_assert(strstr(heard(), "READY=1\n") != NULL);
	notify_done(&notify);
}

Test(notify, pings_at_half_the_interval)
{
	struct notify notify;
	char pid[16];

	setenv("WATCHDOG_USEC", "3000000", 1);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("WATCHDOG_PID", pid, 1);
	notify_init(&notify, 100);
	cr_assert_eq(notify_flush(&notify, 100), 1600);
	cr_assert_str_eq(heard(), "WATCHDOG=1");
	cr_assert_eq(notify_flush(&notify, 1599), 1600);
	cr_assert_str_eq(heard(), "");
	cr_assert_eq(notify_flush(&notify, 1600), 3100);
	cr_assert_str_eq(heard(), "WATCHDOG=1");
	notify_done(&notify);
}

/* The manager has waited, and did not know that we could not send anything. */
Test(notify, after_a_gap_a_watchdog_is_fed_at_once)
{
	struct notify notify;

	setenv("WATCHDOG_USEC", "3000000", 1);
	unsetenv("WATCHDOG_PID");
	notify_init(&notify, 100);
	notify_flush(&notify, 100);
	cr_assert_str_eq(heard(), "WATCHDOG=1");
	notify_hurry(&notify, 101);
	cr_assert_eq(notify_flush(&notify, 101), 1601);
	cr_assert_str_eq(heard(), "WATCHDOG=1");
	notify_done(&notify);
	unsetenv("WATCHDOG_USEC");
	notify_init(&notify, 100);
	notify_hurry(&notify, 101);
	cr_assert_eq(notify_flush(&notify, 101), DEADLINE_NONE);
	cr_assert_str_eq(heard(), "", "nobody waits for it");
	notify_done(&notify);
}

Test(notify, a_watchdog_for_another_process_is_not_ours)
{
	struct notify notify;

	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_init(&notify, 0);
	cr_assert_eq(notify_flush(&notify, 0), DEADLINE_NONE);
	cr_assert_str_eq(heard(), "");
	notify_done(&notify);
}

Test(notify, a_reload_is_announced_before_its_end_and_with_its_time)
{
	struct notify notify;

	notify_init(&notify, 0);
	notify_reloading(&notify, 1234567, 1234);
	notify_ready(&notify);
	notify_flush(&notify, 0);
	cr_assert_str_eq(heard(), "RELOADING=1\nMONOTONIC_USEC=1234567\n");
	cr_assert_str_eq(heard(), "READY=1\n");
	notify_done(&notify);
}

Test(notify, the_end_of_a_reload_is_not_that_of_the_next)
{
	struct notify notify;

	notify_init(&notify, 0);
	notify_reloading(&notify, 1, 0);
	notify_ready(&notify);
	notify_reloading(&notify, 2, 0);
	notify_flush(&notify, 0);
	cr_assert_str_eq(heard(), "RELOADING=1\nMONOTONIC_USEC=2\n");
	cr_assert_str_eq(heard(), "", "it is not ready yet");
	notify_ready(&notify);
	notify_flush(&notify, 0);
	cr_assert_str_eq(heard(), "READY=1\n");
	notify_done(&notify);
}

Test(notify, a_stop_asks_for_time_again_and_again)
{
	struct notify notify;
	uint64_t wake_ms;

	notify_init(&notify, 0);
	cr_assert_eq(notify_flush(&notify, 5), DEADLINE_NONE);
	notify_stopping(&notify);
	wake_ms = notify_flush(&notify, 10);
	cr_assert_str_eq(heard(), "STOPPING=1\n");
	cr_assert_str_eq(heard(), "EXTEND_TIMEOUT_USEC=30000000");
	cr_assert_leq(wake_ms, 10 + 15000, "at half of it at the latest");
	notify_flush(&notify, wake_ms - 1);
	cr_assert_str_eq(heard(), "");
	notify_flush(&notify, wake_ms);
	cr_assert_str_eq(heard(), "EXTEND_TIMEOUT_USEC=30000000");
	notify_done(&notify);
}
