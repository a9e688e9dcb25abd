/* SPDX-License-Identifier: MIT */
/* include() in the outline. */
#include <errno.h>
#include <string.h>

#include "config/parse.h"
#include "config/reader.h"

/* Refuses a file that is being read already, and says by which way it came back. */
static bool include_cycle(
	struct outline *outline, struct level *level, const char *path, const struct source *source, unsigned int line)
{
	const char *chain = path;
	struct file *file;

	for (file = outline->file; file; file = file->outer) {
		chain = arena_format(outline->arena, "%s -> %s", file->name, chain ? chain : "");
		if (file->device == source->device && file->inode == source->inode)
			break;
	}
	if (!file)
		return false;
	reader_refuse(outline, level, line, "include: %s includes itself: %s", path, chain ? chain : "");
	return true;
}

/* Whether the file may be read on top of those under way. */
static bool include_allowed(
	struct outline *outline, struct level *level, const char *path, const struct source *source, unsigned int line)
{
	if (include_cycle(outline, level, path, source, line))
		return false;
	if (outline->file->depth + 1 >= SOURCE_DEPTH_MAX)
		return reader_refuse(outline, level, line, "include: %s: files include one another more than %d deep",
			path, SOURCE_DEPTH_MAX);
	outline->read_size += source->size;
	if (outline->read_size > SOURCE_TOTAL_MAX) {
		outline->stopped = true;
		return reader_refuse(
			outline, level, line, "include: with %s the files have more than 4 MiB together", path);
	}
	return true;
}

static bool include_file(struct outline *outline, struct level *level, const char *path, unsigned int line)
{
	struct source source;
	const char *reason;
	int result;

	result = source_read(path, &source, &reason);
	if (result < 0)
		return reader_refuse(outline, level, line, "include: %s: %s", path, reason);
	if (include_allowed(outline, level, path, &source, line)) {
		path = arena_text(outline->arena, path);
		result = path ? outline_file(outline, level, path, &source) : -ENOMEM;
	}
	source_done(&source);
	return result == 0;
}

/* Every file that PATTERN means, in place of the statement at LINE. */
static bool include_pattern(struct outline *outline, struct level *level, const char *pattern, unsigned int line)
{
	struct source_list list;
	int result;

	if (outline->refuse_includes)
		return reader_refuse(outline, level, line, "include: no other files may be read here");
	result = source_expand(outline->file->name, pattern, &list);
	if (result < 0)
		return reader_refuse(outline, level, line, "include: %s: %s", pattern, strerrordesc_np(-result));
	for (size_t i = 0; i < list.count && !outline->stopped; i++)
		include_file(outline, level, list.paths[i], line);
	source_list_done(&list);
	return true;
}

bool outline_include(struct outline *outline, struct level *level, const struct token *name)
{
	static const char wanted[] = "include is followed by (\"path\")";
	struct token open = reader_next(outline), path, close;
	const char *pattern;

	if (open.kind != TOKEN_CALL)
		return reader_stop_at(outline, level, &open, wanted);
	path = reader_next(outline);
	if (!token_is_value(&path))
		return reader_stop_at(outline, level, &path, wanted);
	close = reader_next(outline);
	if (close.kind != TOKEN_RETURN)
		return reader_stop_at(outline, level, &close, wanted);
	if (path.problem[0])
		return reader_refuse(outline, level, path.line, "include: %s", path.problem);
	pattern = parse_word(outline->arena, path.text, path.size);
	if (!pattern)
		return reader_stop_at(outline, level, &path, "it cannot be read");
	if (pattern[0] == '\0')
		return reader_refuse(outline, level, path.line, "include: the path is empty");
	return include_pattern(outline, level, pattern, name->line);
}
