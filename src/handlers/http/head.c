/* SPDX-License-Identifier: MIT */
#include "handlers/http/head.h"

#include <string.h>

#include "base/attrs.h"

/* What may stand in a request line beside its target: a method that is known somewhere, spaces and the version. */
#define REQUEST_LINE_REST 48

static bool is_text_byte(char c)
{
	unsigned char byte = (unsigned char)c;

	return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

/* The line that ends at END (its CR) is complete. */
static int scan_line(struct head_scan *scan, size_t end, const struct head_limits *limits)
{
	bool empty = end == scan->line;

	scan->line = end + 2;
	scan->seen = end + 2;
	if (!empty) {
		scan->lines++;
		/* The request line is one of them. */
		return scan->lines > limits->fields + 1 ? 431 : 0;
	}
	if (scan->lines > 0) {
		scan->length = scan->line;
		return 0;
	}
	/* RFC 9112 2.2: at least one empty line before the request line is to be ignored. */
	if (scan->blank)
		return 400;
	scan->blank = true;
	return 0;
}

static int scan_limits(const struct head_scan *scan, size_t size, const struct head_limits *limits)
{
	bool in_request_line = scan->lines == 0;

	if (in_request_line && size - scan->line > limits->target + REQUEST_LINE_REST)
		return 414;
	if (size >= limits->head)
		return in_request_line ? 414 : 431;
	return 0;
}

/* Where to stop looking for now. It must not depend on how much has come beyond a limit. */
static size_t scan_end(const struct head_scan *scan, size_t size, const struct head_limits *limits)
{
	size_t end = size < limits->head ? size : limits->head;
	size_t longest = scan->line + limits->target + REQUEST_LINE_REST;

	return scan->lines == 0 && end > longest ? longest : end;
}

int head_scan(struct head_scan *scan, const char *text, size_t size, const struct head_limits *limits)
{
	size_t end;

	while (scan->seen < (end = scan_end(scan, size, limits))) {
		size_t at = scan->seen;
		int refused;

		while (at < end && LIKELY(is_text_byte(text[at])))
			at++;
		scan->seen = at;
		if (at == end)
			continue;
		if (text[at] != '\r')
			return 400;
		if (at + 1 >= end)
			break;
		if (text[at + 1] != '\n')
			return 400;
		refused = scan_line(scan, at, limits);
		if (refused != 0 || scan->length > 0)
			return refused;
	}
	return scan_limits(scan, size, limits);
}

/* Cuts the next line off REST, which is CRLF-terminated throughout. */
static struct span next_line(struct span *rest)
{
	const char *end = memchr(rest->text, '\r', rest->size);
	struct span line = { rest->text, end != NULL ? (size_t)(end - rest->text) : rest->size };
	size_t taken = end != NULL ? line.size + 2 : line.size;

	rest->text += taken;
	rest->size -= taken;
	return line;
}

/* Cuts TEXT at its first SEPARATOR. False: there is none. */
static bool split(struct span text, char separator, struct span *ret_before, struct span *ret_after)
{
	const char *at = memchr(text.text, separator, text.size);

	if (at == NULL)
		return false;
	*ret_before = (struct span){ text.text, (size_t)(at - text.text) };
	*ret_after = (struct span){ at + 1, text.size - ret_before->size - 1 };
	return true;
}

static bool is_token(struct span text)
{
	for (size_t i = 0; i < text.size; i++)
		if (!text_is_token_char(text.text[i]))
			return false;
	return text.size > 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int check_version(struct span version, unsigned int *ret_minor)
{
	/* HTTP-name is case-sensitive, and each number is one digit (RFC 9112 2.3). */
	if (version.size != 8 || memcmp(version.text, "HTTP/", 5) != 0 || !is_digit(version.text[5]) ||
		version.text[6] != '.' || !is_digit(version.text[7]))
		return 400;
	if (version.text[5] != '1' || version.text[7] > '1')
		return 505;
	*ret_minor = (unsigned int)(version.text[7] - '0');
	return 0;
}

static bool target_bytes_valid(struct span target)
{
	for (size_t i = 0; i < target.size; i++)
		if (target.text[i] <= 0x20 || target.text[i] >= 0x7f || target.text[i] == '#')
			return false;
	return target.size > 0;
}

static int check_request_line(struct span line, const struct head_limits *limits, struct head *head)
{
	struct span rest, version;
	int refused;

	head->line = line;
	if (!split(line, ' ', &head->method, &rest) || !split(rest, ' ', &head->target, &version))
		return 400;
	if (!is_token(head->method) || !target_bytes_valid(head->target))
		return 400;
	refused = check_version(version, &head->minor);
	if (refused != 0)
		return refused;
	return head->target.size > limits->target ? 414 : 0;
}

/* sub-delims and unreserved of RFC 3986, and the percent sign, whose digits host_valid() checks. */
static bool is_host_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=%", c) != NULL);
}

static bool registered_name_valid(struct span name)
{
	for (size_t i = 0; i < name.size; i++) {
		if (!is_host_char(name.text[i]))
			return false;
		if (name.text[i] != '%')
			continue;
		if (i + 2 >= name.size || text_hex_digit(name.text[i + 1]) < 0 || text_hex_digit(name.text[i + 2]) < 0)
			return false;
		i += 2;
	}
	return true;
}

/* What stands between the brackets of an address of version 6. */
static bool literal_valid(struct span literal)
{
	for (size_t i = 0; i < literal.size; i++)
		if (text_hex_digit(literal.text[i]) < 0 && literal.text[i] != ':' && literal.text[i] != '.')
			return false;
	return literal.size >= 2;
}

bool head_host_valid(struct span text)
{
	struct span host, port = { NULL, 0 };
	uint64_t number;

	if (text.size > 0 && text.text[0] == '[') {
		struct span rest;

		if (!split(text, ']', &host, &rest) || (rest.size > 0 && rest.text[0] != ':'))
			return false;
		host.text++;
		host.size--;
		if (!literal_valid(host))
			return false;
		if (rest.size > 0)
			port = (struct span){ rest.text + 1, rest.size - 1 };
	} else {
		if (!split(text, ':', &host, &port))
			host = text;
		if (!registered_name_valid(host) || (port.text != NULL && host.size == 0))
			return false;
	}
	return port.size == 0 || (port.size <= 5 && span_to_number(port, &number) && number <= UINT16_MAX);
}

static int check_length(struct span value, struct head *head)
{
	/* Two lengths are refused even if they are equal: RFC 9112 6.3 leaves the choice. */
	if (head->has_length || !span_to_number(value, &head->length))
		return 400;
	head->has_length = true;
	return 0;
}

/* Codings other than chunked, which this server could not undo (RFC 9112 7.2). */
static bool is_known_coding(struct span coding)
{
	return span_is_nocase(coding, "gzip") || span_is_nocase(coding, "x-gzip") ||
	       span_is_nocase(coding, "deflate") || span_is_nocase(coding, "compress") ||
	       span_is_nocase(coding, "x-compress");
}

static int check_transfer_encoding(struct span value, struct head *head)
{
	bool others = false;
	struct span coding = { NULL, 0 };

	if (head->chunked || head->minor == 0)
		return 400;
	while (span_next_element(&value, &coding)) {
		/* Only as the last one does chunked delimit the body (RFC 9112 6.3). */
		if (head->chunked)
			return 400;
		if (span_is_nocase(coding, "chunked"))
			head->chunked = true;
		else if (is_known_coding(coding))
			others = true;
		else
			return 400;
	}
	if (!head->chunked)
		return 400;
	return others ? 501 : 0;
}

static int check_field(struct span line, struct head *head)
{
	struct span name, value;

	/* A line that begins with white space would be a folded one (RFC 9112 5.2): its name is no token either. */
	if (!split(line, ':', &name, &value) || !is_token(name))
		return 400;
	value = span_trim(value);
	if (span_is_nocase(name, "host")) {
		head->hosts++;
		return head->hosts > 1 || !head_host_valid(value) ? 400 : 0;
	}
	if (span_is_nocase(name, "content-length"))
		return check_length(value, head);
	if (span_is_nocase(name, "transfer-encoding"))
		return check_transfer_encoding(value, head);
	return 0;
}

int head_check(const char *text, size_t size, const struct head_limits *limits, struct head *ret_head)
{
	struct span rest = { text, size };
	struct span line = next_line(&rest);
	int refused, unsupported = 0;

	*ret_head = (struct head){ 0 };
	if (line.size == 0)
		line = next_line(&rest);
	refused = check_request_line(line, limits, ret_head);
	if (refused != 0)
		return refused;
	for (line = next_line(&rest); line.size > 0; line = next_line(&rest)) {
		refused = check_field(line, ret_head);
		if (refused == 501)
			unsupported = refused; /* unless what follows is wrong altogether */
		else if (refused != 0)
			return refused;
	}
	if (ret_head->minor == 1 && ret_head->hosts == 0)
		return 400;
	if (ret_head->chunked && ret_head->has_length)
		return 400;
	return unsupported;
}
