/* SPDX-License-Identifier: MIT */
#include "handlers/http/mime.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/fd.h"

static const struct {
	const char *extension;
	const char *type;
} few_types[] = {
	{"html",  "text/html"       },
	{ "css",  "text/css"        },
	{ "js",   "text/javascript" },
	{ "json", "application/json"},
	{ "txt",  "text/plain"      },
	{ "svg",  "image/svg+xml"   },
	{ "png",  "image/png"       },
	{ "jpg",  "image/jpeg"      },
};

int mime_init(struct mime *mime, const char *file)
{
	mime->next = 0;
	for (size_t i = 0; i < MIME_REMEMBERED; i++)
		mime->answers[i].extension_size = 0;
	mime->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return mime->fd < 0 ? -errno : 0;
}

void mime_done(struct mime *mime)
{
	fd_close(&mime->fd);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts the next word off LINE. False: there is none, or a comment begins. */
static bool next_word(struct span *line, struct span *ret_word)
{
	size_t size = 0;

	while (line->size > 0 && is_blank(line->text[0])) {
		line->text++;
		line->size--;
	}
	while (size < line->size && !is_blank(line->text[size]))
		size++;
	*ret_word = (struct span){ line->text, size };
	*line = (struct span){ line->text + size, line->size - size };
	return size > 0 && ret_word->text[0] != '#';
}

/* A line of the table names EXTENSION (in lower case, terminated). */
static bool line_names(struct span line, const char *extension, struct span *ret_type)
{
	struct span word;

	if (!next_word(&line, ret_type))
		return false;
	while (next_word(&line, &word))
		if (span_is_nocase(word, extension))
			return true;
	return false;
}

static void remember_type(struct mime_answer *answer, struct span type)
{
	if (type.size > sizeof(answer->type))
		return;
	memcpy(answer->type, type.text, type.size);
	answer->type_size = (uint8_t)type.size;
}

/* Searches the complete lines of TEXT. Returns how many bytes they took; SIZE_MAX once the extension is found. */
static size_t search_lines(struct span text, const char *extension, struct mime_answer *answer)
{
	size_t done = 0;
	const char *end;

	while ((end = memchr(text.text + done, '\n', text.size - done)) != NULL) {
		struct span line = { text.text + done, (size_t)(end - text.text) - done };
		struct span type;

		if (line_names(line, extension, &type)) {
			remember_type(answer, type);
			return SIZE_MAX;
		}
		done += line.size + 1;
	}
	return done;
}

/* Searches the table, a piece at a time. A line longer than a piece is skipped in pieces. */
static void search_table(int fd, const char *extension, struct mime_answer *answer)
{
	char piece[4096];
	size_t kept = 0;
	off_t at = 0;

	for (;;) {
		ssize_t got = pread(fd, piece + kept, sizeof(piece) - kept - 1, at);
		size_t size, done;

		if (got < 0)
			return;
		at += got;
		size = kept + (size_t)got;
		if (got == 0 && size > 0)
			piece[size++] = '\n'; /* of a last line that lacks it */
		done = search_lines((struct span){ piece, size }, extension, answer);
		if (done == SIZE_MAX || got == 0)
			return;
		kept = size - done;
		if (kept == sizeof(piece) - 1)
			kept = 0;
		memmove(piece, piece + done, kept);
	}
}

static void search_few(const char *extension, struct mime_answer *answer)
{
	for (size_t i = 0; i < ARRAY_SIZE(few_types); i++)
		if (strcmp(few_types[i].extension, extension) == 0)
			remember_type(answer, (struct span){ few_types[i].type, strlen(few_types[i].type) });
}

static struct mime_answer *search(struct mime *mime, struct span extension)
{
	struct mime_answer *answer = &mime->answers[mime->next];
	char name[MIME_EXTENSION_MAX + 1];

	mime->next = (mime->next + 1) % MIME_REMEMBERED;
	for (size_t i = 0; i < extension.size; i++)
		name[i] = text_lower(extension.text[i]);
	name[extension.size] = '\0';
	memcpy(answer->extension, name, extension.size);
	answer->extension_size = (uint8_t)extension.size;
	answer->type_size = 0;
	if (mime->fd >= 0)
		search_table(mime->fd, name, answer);
	else
		search_few(name, answer);
	return answer;
}

static bool is_answer(const struct mime_answer *answer, struct span extension)
{
	if (answer->extension_size != extension.size)
		return false;
	for (size_t i = 0; i < extension.size; i++)
		if (answer->extension[i] != text_lower(extension.text[i]))
			return false;
	return true;
}

struct span mime_type(struct mime *mime, struct span extension)
{
	static const char unknown[] = "application/octet-stream";
	const struct mime_answer *answer = NULL;

	/* A NUL in a name cannot be: it has been a path. */
	if (extension.size == 0 || extension.size > MIME_EXTENSION_MAX)
		return (struct span){ unknown, sizeof(unknown) - 1 };
	for (size_t i = 0; i < MIME_REMEMBERED && answer == NULL; i++)
		if (is_answer(&mime->answers[i], extension))
			answer = &mime->answers[i];
	if (answer == NULL)
		answer = search(mime, extension);
	if (answer->type_size == 0)
		return (struct span){ unknown, sizeof(unknown) - 1 };
	return (struct span){ answer->type, answer->type_size };
}
