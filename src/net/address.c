/* SPDX-License-Identifier: MIT */
#include "net/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/digits.h"
#include "base/fd.h"

/* What a path or an abstract name may have: sun_path without its terminator, so that other programs can name it. */
#define UNIX_NAME_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* ---- text to spec ---- */

static int refuse(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EINVAL;
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int parse_unix(const char *name, struct address_spec *spec, const char **ret_reason)
{
	size_t size = strlen(name);

	if (name[0] != '/' && name[0] != '@')
		return refuse(ret_reason, "after unix: comes an absolute path, or @ and an abstract name");
	if (size == 1)
		return refuse(ret_reason, "the unix socket has no name");
	/* The @ stands for the NUL that begins an abstract name, so both kinds have the same limit. */
	if (size > UNIX_NAME_MAX)
		return refuse(ret_reason, "the name of a unix socket has at most 107 bytes");
	if (name[0] == '/' && name[size - 1] == '/')
		return refuse(ret_reason, "the path of a unix socket does not end in a slash");
	spec->kind = ADDRESS_UNIX;
	memcpy(spec->host, name, size + 1);
	return 0;
}

/* Names as FileDescriptorName= of systemd.socket(5) has them: printable ASCII without a colon, at most 255. */
static int parse_systemd(const char *name, struct address_spec *spec, const char **ret_reason)
{
	size_t size = strlen(name);

	if (size == 0 || size >= sizeof(spec->host))
		return refuse(ret_reason, "after systemd: comes a name of 1 to 255 characters");
	for (const char *c = name; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == ':')
			return refuse(ret_reason, "a name from systemd is printable ASCII without spaces and colons");
	}
	spec->kind = ADDRESS_SYSTEMD;
	memcpy(spec->host, name, size + 1);
	return 0;
}

static int parse_port(const char *text, uint16_t *ret_port, const char **ret_reason)
{
	unsigned long port = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || text[digits] != '\0')
		return refuse(ret_reason, "a port is a decimal number, 0 to 65535");
	for (; *text != '\0'; text++) {
		port = port * 10 + (unsigned long)(*text - '0');
		if (port > UINT16_MAX)
			return refuse(ret_reason, "a port is a decimal number, 0 to 65535");
	}
	*ret_port = (uint16_t)port;
	return 0;
}

static bool is_ipv6(const char *host)
{
	char address[INET6_ADDRSTRLEN + 1];
	struct in6_addr parsed;
	size_t size = strcspn(host, "%");

	if (size >= sizeof(address) || (host[size] == '%' && host[size + 1] == '\0'))
		return false;
	memcpy(address, host, size);
	address[size] = '\0';
	return inet_pton(AF_INET6, address, &parsed) == 1;
}

/*
 * Whether getaddrinfo(3) would take the host for numbers: its last label is one. inet_aton(3), which it asks first,
 * reads 010.0.0.1 as octal and 127.1 as 127.0.0.1; here such a host has to be four plain decimal numbers.
 */
static bool is_numeric(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *label = dot != NULL ? dot + 1 : host;

	if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return true;
	return label[0] != '\0' && strspn(label, "0123456789") == strlen(label);
}

static int check_host(const char *host, bool bracketed, const char **ret_reason)
{
	struct in_addr ipv4;

	if (bracketed)
		return is_ipv6(host) ? 0 : refuse(ret_reason, "in brackets stands an IPv6 address");
	if (strchr(host, ':') != NULL)
		return refuse(ret_reason, "an IPv6 address stands in brackets, as in [::1]:80");
	for (const char *c = host; *c != '\0'; c++) {
		if (!isalnum((unsigned char)*c) && strchr("-._", *c) == NULL)
			return refuse(ret_reason, "a host name has letters, digits, dots, hyphens and underscores");
	}
	if (is_numeric(host) && inet_pton(AF_INET, host, &ipv4) != 1)
		return refuse(ret_reason, "an IPv4 address has four decimal numbers, 0 to 255, without leading zeros");
	return 0;
}

static int parse_inet(const char *text, struct address_spec *spec, const char **ret_reason)
{
	const char *colon = strrchr(text, ':');
	size_t size = colon != NULL ? (size_t)(colon - text) : 0;
	bool bracketed = text[0] == '[';
	int result;

	if (colon == NULL || (bracketed && (size < 2 || text[size - 1] != ']')))
		return refuse(ret_reason,
			"accepted are host:port, :port, *:port, [v6]:port, unix:/path, unix:@name, systemd:NAME");
	if (bracketed) {
		text++;
		size -= 2;
	}
	if (size >= sizeof(spec->host))
		return refuse(ret_reason, "a host has at most 255 characters");
	if (!bracketed && size == 1 && text[0] == '*')
		size = 0;
	memcpy(spec->host, text, size);
	spec->host[size] = '\0';
	spec->kind = ADDRESS_INET;
	result = check_host(spec->host, bracketed, ret_reason);
	return result < 0 ? result : parse_port(colon + 1, &spec->port, ret_reason);
}

int address_parse(const char *text, struct address_spec *ret_spec, const char **ret_reason)
{
	struct address_spec spec = { 0 };
	int result;

	if (starts_with(text, "unix:"))
		result = parse_unix(text + strlen("unix:"), &spec, ret_reason);
	else if (starts_with(text, "systemd:"))
		result = parse_systemd(text + strlen("systemd:"), &spec, ret_reason);
	else
		result = parse_inet(text, &spec, ret_reason);
	if (result == 0)
		*ret_spec = spec;
	return result;
}

/* ---- spec to socket addresses ---- */

static void resolve_unix(const char *name, struct socket_address *ret_address)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&ret_address->storage;
	size_t size = strlen(name);
	bool abstract = name[0] == '@';

	memset(ret_address, 0, sizeof(*ret_address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name, size);
	if (abstract)
		address->sun_path[0] = '\0';
	/* A path counts its terminator, an abstract name has none (unix(7)). */
	ret_address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (abstract ? 0 : 1));
}

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return address->sa_family == AF_INET &&
	       (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
}

/*
 * Whether the machine has the family of an address at all. A kernel without IPv6 has no such sockets; one where it is
 * switched off (net.ipv6.conf.all.disable_ipv6) has them, but not ::1, while /etc/hosts goes on naming it.
 */
static bool family_is_there(const struct socket_address *address)
{
	FD_AUTO int fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct socket_address probe = *address;

	if (fd < 0)
		return errno != EAFNOSUPPORT;
	if (!is_loopback((const struct sockaddr *)&probe.storage))
		return true;
	((struct sockaddr_in *)&probe.storage)->sin_port = 0;
	return bind(fd, (const struct sockaddr *)&probe.storage, probe.size) == 0 || errno != EADDRNOTAVAIL;
}

/* Leaves out families that are not there, unless none is: then the error is left to bind(2), which names it. */
static size_t drop_absent_families(struct socket_address *addresses, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		struct socket_address address = addresses[i];

		if (!family_is_there(&address))
			continue;
		addresses[i] = addresses[kept];
		addresses[kept++] = address;
	}
	return kept > 0 ? kept : count;
}

static bool is_listed(const struct socket_address *addresses, size_t count, const struct addrinfo *info)
{
	for (size_t i = 0; i < count; i++) {
		if (address_equal((const struct sockaddr *)&addresses[i].storage, addresses[i].size, info->ai_addr,
			    info->ai_addrlen))
			return true;
	}
	return false;
}

/* A host that stands twice in /etc/hosts comes twice from getaddrinfo(3); it can be bound once. */
static int collect_addresses(
	const struct addrinfo *list, struct socket_address *addresses, size_t max, size_t *ret_count)
{
	size_t count = 0;

	for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
		if (info->ai_addrlen > sizeof(addresses->storage) || is_listed(addresses, count, info))
			continue;
		if (count == max)
			return -ENOBUFS;
		memset(&addresses[count], 0, sizeof(addresses[count]));
		memcpy(&addresses[count].storage, info->ai_addr, info->ai_addrlen);
		addresses[count++].size = info->ai_addrlen;
	}
	*ret_count = count;
	return count > 0 ? 0 : -EADDRNOTAVAIL;
}

static int resolver_errno(int error)
{
	switch (error) {
	case EAI_SYSTEM:
		return errno > 0 ? -errno : -EIO;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_NONAME:
	case EAI_NODATA:
		return -ENOENT;
	default:
		return -EADDRNOTAVAIL;
	}
}

static int resolve_inet(const struct address_spec *spec, struct socket_address *ret_addresses, size_t max,
	size_t *ret_count, const char **ret_reason)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list = NULL;
	char port[8];
	size_t count = 0;
	int result;

	snprintf(port, sizeof(port), "%u", (unsigned int)spec->port);
	result = getaddrinfo(spec->host[0] != '\0' ? spec->host : NULL, port, &hints, &list);
	if (result != 0) {
		*ret_reason = result == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(result);
		return resolver_errno(result);
	}
	result = collect_addresses(list, ret_addresses, max, &count);
	freeaddrinfo(list);
	if (result < 0) {
		*ret_reason = result == -ENOBUFS ? "the name has too many addresses" : "the name has no address";
		return result;
	}
	*ret_count = drop_absent_families(ret_addresses, count);
	return 0;
}

int address_resolve(const struct address_spec *spec, struct socket_address *ret_addresses, size_t max,
	size_t *ret_count, const char **ret_reason)
{
	if (max == 0)
		return refuse(ret_reason, "no room for an address");
	switch (spec->kind) {
	case ADDRESS_INET:
		return resolve_inet(spec, ret_addresses, max, ret_count, ret_reason);
	case ADDRESS_UNIX:
		resolve_unix(spec->host, &ret_addresses[0]);
		*ret_count = 1;
		return 0;
	case ADDRESS_SYSTEMD:
		break;
	}
	return refuse(ret_reason, "a socket of systemd's has no address to resolve");
}

/* ---- socket addresses to text ---- */

/* The length of a unix socket's name, without a path's terminator; an abstract one counts its NUL at the front. */
static size_t unix_name_size(const struct sockaddr_un *address, socklen_t size)
{
	size_t name_size =
		size > offsetof(struct sockaddr_un, sun_path) ? size - offsetof(struct sockaddr_un, sun_path) : 0;

	if (name_size > sizeof(address->sun_path))
		name_size = sizeof(address->sun_path);
	if (name_size > 0 && address->sun_path[0] != '\0')
		return strnlen(address->sun_path, name_size);
	return name_size;
}

/* NULs of an abstract name are written as @, as /proc/net/unix does. */
static void format_unix(const struct sockaddr_un *address, socklen_t size, char *buffer, size_t buffer_size)
{
	char name[sizeof(address->sun_path)] = "";
	size_t name_size = unix_name_size(address, size);

	for (size_t i = 0; i < name_size; i++)
		name[i] = address->sun_path[i] != '\0' ? address->sun_path[i] : '@';
	snprintf(buffer, buffer_size, "unix:%.*s", (int)name_size, name);
}

struct inet_text {
	char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
	uint16_t port;
	bool is_v6;
};

static void append_scope(char *text, size_t text_size, uint32_t scope)
{
	char name[IF_NAMESIZE];
	size_t used = strlen(text);

	if (scope == 0)
		return;
	if (if_indextoname(scope, name) != NULL)
		snprintf(text + used, text_size - used, "%%%s", name);
	else
		snprintf(text + used, text_size - used, "%%%u", (unsigned int)scope);
}

/* Without inet_ntop(3) and snprintf(3), as address_format() does: see base/digits.h. */
static void v4_to_text(const void *address, char *text)
{
	const unsigned char *bytes = address;

	for (int i = 0; i < 4; i++) {
		text = digits_put(text, bytes[i], 10);
		*text++ = i < 3 ? '.' : '\0';
	}
}

static void inet_to_text(const struct sockaddr *address, bool unmap, struct inet_text *ret_text)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	if (address->sa_family == AF_INET) {
		v4_to_text(&v4->sin_addr, ret_text->host);
		ret_text->port = ntohs(v4->sin_port);
		ret_text->is_v6 = false;
		return;
	}
	ret_text->port = ntohs(v6->sin6_port);
	ret_text->is_v6 = !(unmap && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr));
	if (!ret_text->is_v6) {
		v4_to_text(&v6->sin6_addr.s6_addr[12], ret_text->host);
		return;
	}
	inet_ntop(AF_INET6, &v6->sin6_addr, ret_text->host, sizeof(ret_text->host));
	append_scope(ret_text->host, sizeof(ret_text->host), v6->sin6_scope_id);
}

static bool is_inet(const struct sockaddr *address, socklen_t size)
{
	return (size >= sizeof(struct sockaddr_in) && address->sa_family == AF_INET) ||
	       (size >= sizeof(struct sockaddr_in6) && address->sa_family == AF_INET6);
}

static bool is_unix(const struct sockaddr *address, socklen_t size)
{
	return size >= sizeof(sa_family_t) && address->sa_family == AF_UNIX;
}

static void copy_cut(const char *text, char *buffer, size_t size)
{
	size_t length = strlen(text);

	if (size == 0)
		return;
	if (length >= size)
		length = size - 1;
	memcpy(buffer, text, length);
	buffer[length] = '\0';
}

/* "host:port", "[host]:port" */
static void format_inet(const struct inet_text *text, char *buffer, size_t size)
{
	char whole[sizeof(text->host) + sizeof("[]:65535")];
	char *end = whole;

	if (text->is_v6)
		*end++ = '[';
	end = stpcpy(end, text->host);
	if (text->is_v6)
		*end++ = ']';
	*end++ = ':';
	end = digits_put(end, text->port, 10);
	*end = '\0';
	copy_cut(whole, buffer, size);
}

char *address_format(const struct sockaddr *address, socklen_t size, bool unmap, char *buffer, size_t buffer_size)
{
	struct inet_text text;

	if (is_inet(address, size)) {
		inet_to_text(address, unmap, &text);
		format_inet(&text, buffer, buffer_size);
	} else if (is_unix(address, size)) {
		format_unix((const struct sockaddr_un *)address, size, buffer, buffer_size);
	} else {
		snprintf(buffer, buffer_size, "unknown");
	}
	return buffer;
}

char *address_format_host(const struct sockaddr *address, socklen_t size, char *buffer, size_t buffer_size)
{
	struct inet_text text;

	if (is_inet(address, size)) {
		inet_to_text(address, true, &text);
		copy_cut(text.host, buffer, buffer_size);
	} else {
		snprintf(buffer, buffer_size, is_unix(address, size) ? "unix" : "unknown");
	}
	return buffer;
}

/* ---- comparing ---- */

static bool inet6_equal(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && a->sin6_scope_id == b->sin6_scope_id &&
	       IN6_ARE_ADDR_EQUAL(&a->sin6_addr, &b->sin6_addr);
}

static bool unix_equal(const struct sockaddr_un *a, socklen_t a_size, const struct sockaddr_un *b, socklen_t b_size)
{
	size_t name_size = unix_name_size(a, a_size);

	/* Nobody can connect to unnamed sockets: no two of them are the same. */
	return name_size > 0 && name_size == unix_name_size(b, b_size) &&
	       memcmp(a->sun_path, b->sun_path, name_size) == 0;
}

bool address_equal(const struct sockaddr *a, socklen_t a_size, const struct sockaddr *b, socklen_t b_size)
{
	if (is_unix(a, a_size) && is_unix(b, b_size))
		return unix_equal((const struct sockaddr_un *)a, a_size, (const struct sockaddr_un *)b, b_size);
	if (!is_inet(a, a_size) || !is_inet(b, b_size) || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET6)
		return inet6_equal((const struct sockaddr_in6 *)a, (const struct sockaddr_in6 *)b);
	return ((const struct sockaddr_in *)a)->sin_port == ((const struct sockaddr_in *)b)->sin_port &&
	       ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

uint16_t address_port(const struct socket_address *address)
{
	switch (address->storage.ss_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
	default:
		return 0;
	}
}

void address_set_port(struct socket_address *address, uint16_t port)
{
	if (address->storage.ss_family == AF_INET)
		((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
	if (address->storage.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

bool address_covers(const struct socket_address *bound, int fd, const struct socket_address *address)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&bound->storage;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;
	int v6_only = 1;
	socklen_t size = sizeof(v6_only);

	if (bound->storage.ss_family != AF_INET6 || address->storage.ss_family != AF_INET ||
		v6->sin6_port != v4->sin_port)
		return false;
	if (!IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) || v4->sin_addr.s_addr != htonl(INADDR_ANY))
		return false;
	return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &size) == 0 && !v6_only;
}
