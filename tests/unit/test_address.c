/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/address.h"

#define MAX 16

static void check_parse(const char *text, enum address_kind kind, const char *host, unsigned int port)
{
	struct address_spec spec;
	const char *reason = NULL;

	cr_assert_eq(address_parse(text, &spec, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(spec.kind, kind, "%s", text);
	cr_assert_str_eq(spec.host, host, "%s", text);
	cr_assert_eq(spec.port, port, "%s", text);
}

static void check_refused(const char *text, const char *part_of_reason)
{
	struct address_spec spec = { .port = 4711 };
	const char *reason = NULL;

	cr_assert_eq(address_parse(text, &spec, &reason), -EINVAL, "%s", text);
	cr_assert_not_null(reason, "%s", text);
	cr_assert_not_null(strstr(reason, part_of_reason), "%s: %s", text, reason);
	cr_assert_eq(spec.port, 4711, "%s: the result is untouched", text);
}

Test(address, parses_every_form)
{
	check_parse("127.0.0.1:8080", ADDRESS_INET, "127.0.0.1", 8080);
	check_parse("localhost:0", ADDRESS_INET, "localhost", 0);
	check_parse("my-host.example:65535", ADDRESS_INET, "my-host.example", 65535);
	check_parse("9front.example:80", ADDRESS_INET, "9front.example", 80);
	check_parse(":80", ADDRESS_INET, "", 80);
	check_parse("*:80", ADDRESS_INET, "", 80);
	check_parse("[::]:80", ADDRESS_INET, "::", 80);
	check_parse("[::1]:010", ADDRESS_INET, "::1", 10);
	check_parse("[::ffff:192.0.2.1]:80", ADDRESS_INET, "::ffff:192.0.2.1", 80);
	check_parse("[fe80::1%lo]:80", ADDRESS_INET, "fe80::1%lo", 80);
	check_parse("unix:/run/x.sock", ADDRESS_UNIX, "/run/x.sock", 0);
	check_parse("unix:/run/a:b", ADDRESS_UNIX, "/run/a:b", 0);
	check_parse("unix:@name", ADDRESS_UNIX, "@name", 0);
	check_parse("systemd:web", ADDRESS_SYSTEMD, "web", 0);
}

Test(address, refuses_what_is_none)
{
	check_refused("", "accepted are");
	check_refused("8080", "accepted are");
	check_refused("localhost", "accepted are");
	check_refused("[::1]", "accepted are");
	check_refused("[::1]80", "accepted are");
	check_refused("[]:80", "IPv6");
	check_refused("[:80", "accepted are");
	check_refused("[127.0.0.1]:80", "IPv6");
	check_refused("[fe80::1%]:80", "IPv6");
	check_refused("::1:80", "brackets");
	check_refused(":", "0 to 65535");
	check_refused("localhost:", "0 to 65535");
	check_refused("localhost:65536", "0 to 65535");
	check_refused("localhost:18446744073709551696", "0 to 65535");
	check_refused("localhost:-1", "0 to 65535");
	check_refused("localhost:+1", "0 to 65535");
	check_refused("localhost: 80", "0 to 65535");
	check_refused("localhost:80x", "0 to 65535");
	check_refused("localhost:http", "0 to 65535");
	check_refused(" localhost:80", "host name");
	check_refused("http://localhost:80", "brackets");
	check_refused("256.0.0.1:80", "four decimal");
	check_refused("127.1:80", "four decimal");
	check_refused("010.0.0.1:80", "four decimal");
	check_refused("0x7f000001:80", "four decimal");
	check_refused("unix:", "absolute path");
	check_refused("unix:relative", "absolute path");
	check_refused("unix:/", "no name");
	check_refused("unix:@", "no name");
	check_refused("unix:/run/", "slash");
	check_refused("systemd:", "1 to 255");
	check_refused("systemd:a:b", "colons");
	check_refused("systemd:a b", "spaces");
}

Test(address, limits_the_length_of_names)
{
	char text[600];

	snprintf(text, sizeof(text), "unix:/%0106d", 0);
	check_parse(text, ADDRESS_UNIX, text + 5, 0);
	snprintf(text, sizeof(text), "unix:/%0107d", 0);
	check_refused(text, "at most 107");
	snprintf(text, sizeof(text), "unix:@%0106d", 0);
	check_parse(text, ADDRESS_UNIX, text + 5, 0);
	snprintf(text, sizeof(text), "unix:@%0107d", 0);
	check_refused(text, "at most 107");
	snprintf(text, sizeof(text), "systemd:%0255d", 0);
	check_parse(text, ADDRESS_SYSTEMD, text + 8, 0);
	snprintf(text, sizeof(text), "systemd:%0256d", 0);
	check_refused(text, "1 to 255");
	snprintf(text, sizeof(text), "x%0255d:80", 0);
	check_refused(text, "at most 255");
}

static size_t resolve(const char *text, struct socket_address *addresses)
{
	struct address_spec spec;
	const char *reason = "";
	size_t count = 0;

	cr_assert_eq(address_parse(text, &spec, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(address_resolve(&spec, addresses, MAX, &count, &reason), 0, "%s: %s", text, reason);
	return count;
}

static const char *format(const struct socket_address *address)
{
	static char text[ADDRESS_TEXT_MAX];

	return address_format((const struct sockaddr *)&address->storage, address->size, false, text, sizeof(text));
}

static bool has(const struct socket_address *addresses, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(format(&addresses[i]), text) == 0)
			return true;
	}
	return false;
}

static bool machine_has_v6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

Test(address, any_address_is_both_families)
{
	struct socket_address addresses[MAX];
	size_t count = resolve(":8080", addresses);

	cr_assert(has(addresses, count, "0.0.0.0:8080"));
	cr_assert_eq(has(addresses, count, "[::]:8080"), machine_has_v6());
	cr_assert_eq(count, machine_has_v6() ? 2 : 1);
	cr_assert_eq(resolve("*:8080", addresses), count);
}

Test(address, resolves_literals_and_names)
{
	struct socket_address addresses[MAX];
	size_t count;

	cr_assert_eq(resolve("127.0.0.1:80", addresses), 1);
	cr_assert_str_eq(format(&addresses[0]), "127.0.0.1:80");
	cr_assert_eq(resolve("[::1]:80", addresses), 1);
	cr_assert_str_eq(format(&addresses[0]), "[::1]:80");
	cr_assert_eq(resolve("[fe80::1%lo]:80", addresses), 1);
	cr_assert_str_eq(format(&addresses[0]), "[fe80::1%lo]:80");
	cr_assert_eq(((struct sockaddr_in6 *)&addresses[0].storage)->sin6_scope_id, if_nametoindex("lo"));

	count = resolve("localhost:80", addresses);
	cr_assert_geq(count, 1);
	cr_assert(has(addresses, count, "127.0.0.1:80") || has(addresses, count, "[::1]:80"));
	for (size_t i = 0; i < count; i++)
		cr_assert_not(has(addresses, i, format(&addresses[i])), "%s comes twice", format(&addresses[i]));
}

Test(address, resolves_unix_names)
{
	struct socket_address addresses[MAX];

	cr_assert_eq(resolve("unix:/run/x.sock", addresses), 1);
	cr_assert_str_eq(format(&addresses[0]), "unix:/run/x.sock");
	cr_assert_eq(addresses[0].size, offsetof(struct sockaddr_un, sun_path) + sizeof("/run/x.sock"));
	cr_assert_eq(resolve("unix:@name", addresses), 1);
	cr_assert_str_eq(format(&addresses[0]), "unix:@name");
	cr_assert_eq(addresses[0].size, offsetof(struct sockaddr_un, sun_path) + 5);
	cr_assert_eq(((struct sockaddr_un *)&addresses[0].storage)->sun_path[0], '\0');
}

Test(address, tells_why_nothing_resolves)
{
	struct address_spec systemd = { .kind = ADDRESS_SYSTEMD, .host = "web" };
	struct address_spec nowhere = { .kind = ADDRESS_INET, .host = "fe80::1%nosuchlink", .port = 80 };
	struct address_spec any = { .kind = ADDRESS_INET, .port = 80 };
	struct socket_address addresses[MAX];
	const char *reason = NULL;
	size_t count = 4711;

	cr_assert_eq(address_resolve(&systemd, addresses, MAX, &count, &reason), -EINVAL);
	cr_assert_not_null(reason);
	reason = NULL;
	cr_assert_lt(address_resolve(&nowhere, addresses, MAX, &count, &reason), 0);
	cr_assert_not_null(reason);
	if (machine_has_v6()) {
		cr_assert_eq(address_resolve(&any, addresses, 1, &count, &reason), -ENOBUFS);
		cr_assert_str_eq(reason, "the name has too many addresses");
	}
	cr_assert_eq(count, 4711);
}

static struct sockaddr_in6 mapped(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(80) };

	inet_pton(AF_INET6, "::ffff:192.0.2.1", &address.sin6_addr);
	return address;
}

Test(address, formats_mapped_addresses)
{
	struct sockaddr_in6 address = mapped();
	const struct sockaddr *generic = (const struct sockaddr *)&address;
	char text[ADDRESS_TEXT_MAX];

	cr_assert_str_eq(address_format(generic, sizeof(address), false, text, sizeof(text)), "[::ffff:192.0.2.1]:80");
	cr_assert_str_eq(address_format(generic, sizeof(address), true, text, sizeof(text)), "192.0.2.1:80");
	cr_assert_str_eq(address_format_host(generic, sizeof(address), text, sizeof(text)), "192.0.2.1");
}

Test(address, formats_odd_sockets)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct sockaddr *generic = (const struct sockaddr *)&address;
	struct sockaddr_storage none = { .ss_family = AF_UNSPEC };
	char text[ADDRESS_TEXT_MAX];

	cr_assert_str_eq(address_format(generic, sizeof(sa_family_t), true, text, sizeof(text)), "unix:");
	cr_assert_str_eq(address_format_host(generic, sizeof(sa_family_t), text, sizeof(text)), "unix");

	/* A path may fill all of sun_path, without a terminator (unix(7)). */
	memset(address.sun_path, 'p', sizeof(address.sun_path));
	address_format(generic, sizeof(address), true, text, sizeof(text));
	cr_assert_eq(strlen(text), strlen("unix:") + sizeof(address.sun_path));

	memcpy(address.sun_path, "\0a\0b", 4);
	cr_assert_str_eq(address_format(generic, offsetof(struct sockaddr_un, sun_path) + 4, true, text, sizeof(text)),
		"unix:@a@b");

	cr_assert_str_eq(address_format((struct sockaddr *)&none, sizeof(none), true, text, sizeof(text)), "unknown");
	cr_assert_str_eq(address_format((struct sockaddr *)&none, 0, true, text, sizeof(text)), "unknown");
}

Test(address, never_writes_beyond_the_buffer)
{
	struct sockaddr_in6 address = mapped();
	char text[8] = "1234567";

	address_format((const struct sockaddr *)&address, sizeof(address), false, text, 4);
	cr_assert_str_eq(text, "[::");
	cr_assert_str_eq(text + 4, "567");
}

static bool equal(const char *a, const char *b)
{
	struct socket_address left[MAX];
	struct socket_address right[MAX];

	cr_assert_eq(resolve(a, left), 1);
	cr_assert_eq(resolve(b, right), 1);
	return address_equal((const struct sockaddr *)&left[0].storage, left[0].size,
		(const struct sockaddr *)&right[0].storage, right[0].size);
}

Test(address, compares)
{
	const char *const different[] = { "127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80", "0.0.0.0:80", "[::]:80",
		"[::1]:80", "[fe80::1]:80", "[fe80::1%lo]:80", "[::ffff:127.0.0.1]:80", "unix:/a", "unix:/ab",
		"unix:@a", "unix:@ab" };

	for (size_t i = 0; i < ARRAY_SIZE(different); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(different); j++)
			cr_assert_eq(equal(different[i], different[j]), i == j, "%s, %s", different[i], different[j]);
	}
}

Test(address, a_path_is_equal_with_and_without_its_terminator)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/a" };
	const struct sockaddr *generic = (const struct sockaddr *)&address;
	socklen_t base = offsetof(struct sockaddr_un, sun_path);

	cr_assert(address_equal(generic, base + 2, generic, base + 3));
	cr_assert(address_equal(generic, base + 2, generic, sizeof(address)));
	cr_assert_not(address_equal(generic, base, generic, base), "unnamed sockets are never the same");
}
