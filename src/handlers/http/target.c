/* SPDX-License-Identifier: MIT */
#include "handlers/http/target.h"

#include <string.h>

#include "handlers/http/head.h"

/* Takes "http://authority" away from the absolute-form. */
static int strip_authority(struct span *text)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < 2; i++) {
		size_t size = strlen(schemes[i]);
		struct span authority;

		if (text->size < size || !span_is_nocase((struct span){ text->text, size }, schemes[i]))
			continue;
		*text = (struct span){ text->text + size, text->size - size };
		authority = (struct span){ text->text, 0 };
		while (authority.size < text->size && strchr("/?", text->text[authority.size]) == NULL)
			authority.size++;
		*text = (struct span){ text->text + authority.size, text->size - authority.size };
		/* RFC 9110 4.2.1: an http URI with an empty host is invalid. */
		return authority.size == 0 || !head_host_valid(authority) ? 400 : 0;
	}
	return 400;
}

static void cut_query(struct span *path, struct span *ret_query)
{
	const char *mark = path->size > 0 ? memchr(path->text, '?', path->size) : NULL;

	*ret_query = (struct span){ NULL, 0 };
	if (mark == NULL)
		return;
	*ret_query = (struct span){ mark + 1, path->size - (size_t)(mark - path->text) - 1 };
	path->size = (size_t)(mark - path->text);
}

/* Decodes the byte at AT of PATH. Returns how many bytes it took, or 0 if it is broken. */
static size_t decode_byte(struct span path, size_t at, char *ret_byte)
{
	int high, low;

	if (path.text[at] != '%') {
		*ret_byte = path.text[at];
		return 1;
	}
	if (path.size - at < 3)
		return 0;
	high = text_hex_digit(path.text[at + 1]);
	low = text_hex_digit(path.text[at + 2]);
	if (high < 0 || low < 0 || (high == 0 && low == 0))
		return 0;
	*ret_byte = (char)(high * 16 + low);
	return 3;
}

static bool is_dot_segment(const char *segment, size_t size)
{
	return (size == 1 && segment[0] == '.') || (size == 2 && segment[0] == '.' && segment[1] == '.');
}

/* Decodes one segment to the end of the path under construction. */
static int append_segment(struct target *target, struct span segment)
{
	size_t start = target->path_size > 0 ? target->path_size + 1 : 0;
	size_t size = start;
	bool slash = false;

	if (start + segment.size >= sizeof(target->path))
		return 404;
	for (size_t at = 0; at < segment.size;) {
		size_t taken = decode_byte(segment, at, &target->path[size]);

		if (taken == 0)
			return 400;
		slash = slash || target->path[size] == '/';
		size++;
		at += taken;
	}
	if (is_dot_segment(target->path + start, size - start))
		return 400;
	if (slash)
		return 404;
	if (start > 0)
		target->path[start - 1] = '/';
	target->path_size = size;
	return 0;
}

static int append_path(struct target *target, struct span path)
{
	int missing = 0;

	while (path.size > 0) {
		const char *slash = memchr(path.text, '/', path.size);
		struct span segment = { path.text, slash != NULL ? (size_t)(slash - path.text) : path.size };
		size_t taken = segment.size + (slash != NULL);

		path = (struct span){ path.text + taken, path.size - taken };
		target->directory = slash != NULL;
		if (segment.size > 0) {
			int refused = append_segment(target, segment);

			/* A path that is wrong anywhere is wrong; only then may it be missing. */
			if (refused == 404)
				missing = refused;
			else if (refused != 0)
				return refused;
		}
	}
	target->path[target->path_size] = '\0';
	return missing;
}

int target_parse(struct span text, bool asterisk_allowed, struct target *ret_target)
{
	ret_target->directory = true;
	ret_target->path_size = 0;
	ret_target->path[0] = '\0';
	ret_target->query = (struct span){ NULL, 0 };
	if (text.size == 1 && text.text[0] == '*')
		return asterisk_allowed ? 0 : 400;
	if (text.size > 0 && text.text[0] != '/') {
		int refused = strip_authority(&text);

		if (refused != 0)
			return refused;
	}
	cut_query(&text, &ret_target->query);
	return append_path(ret_target, text);
}

struct span target_extension(const char *path, size_t size)
{
	size_t at = size;

	while (at > 0 && path[at - 1] != '/' && path[at - 1] != '.')
		at--;
	if (at < 2 || path[at - 1] != '.' || path[at - 2] == '/')
		return (struct span){ path + size, 0 };
	return (struct span){ path + at, size - at };
}
