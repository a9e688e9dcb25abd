/* SPDX-License-Identifier: MIT */
#include "config/diagnostics.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Room for one element more in an array that grows by doubling. */
static bool array_grow(struct diagnostics *diagnostics, void **array, size_t count, size_t *room, size_t element)
{
	size_t wanted = *room ? *room * 2 : 16;
	void *grown;

	if (count < *room)
		return true;
	grown = reallocarray(*array, wanted, element);
	if (!grown) {
		diagnostics->failed = true;
		return false;
	}
	*array = grown;
	*room = wanted;
	return true;
}

void diagnostics_map(struct diagnostics *diagnostics, unsigned int text_line, const char *file, unsigned int file_line)
{
	void *runs = diagnostics->runs;

	if (!array_grow(diagnostics, &runs, diagnostics->run_count, &diagnostics->run_room, sizeof(struct line_run)))
		return;
	diagnostics->runs = runs;
	diagnostics->runs[diagnostics->run_count++] =
		(struct line_run){ .text_line = text_line, .file_line = file_line, .file = file };
}

struct line_run diagnostics_locate(const struct diagnostics *diagnostics, unsigned int text_line)
{
	size_t low = 0, high = diagnostics->run_count;
	struct line_run run;

	if (high == 0)
		return (struct line_run){ .text_line = text_line, .file_line = text_line, .file = "" };
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (diagnostics->runs[middle].text_line <= text_line)
			low = middle;
		else
			high = middle;
	}
	run = diagnostics->runs[low];
	run.file_line += text_line - run.text_line;
	run.text_line = text_line;
	return run;
}

void diagnostics_add(
	struct diagnostics *diagnostics, unsigned int text_line, const char *where, const char *format, ...)
{
	struct line_run run = diagnostics_locate(diagnostics, text_line);
	void *errors = diagnostics->errors;
	char *text = NULL;
	size_t size;
	va_list args;
	FILE *out;

	if (diagnostics->error_count == DIAGNOSTICS_MAX) {
		diagnostics->lost++;
		return;
	}
	if (!array_grow(diagnostics, &errors, diagnostics->error_count, &diagnostics->error_room,
		    sizeof(struct diagnostic)))
		return;
	diagnostics->errors = errors;
	out = open_memstream(&text, &size);
	if (!out) {
		diagnostics->failed = true;
		return;
	}
	if (text_line)
		fprintf(out, "%s:%u: ", run.file, run.file_line);
	if (where[0] != '\0')
		fprintf(out, "%s: ", where);
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	if (fclose(out) != 0) {
		free(text);
		diagnostics->failed = true;
		return;
	}
	diagnostics->errors[diagnostics->error_count] = (struct diagnostic){
		.text_line = text_line,
		.number = diagnostics->error_count,
		.text = text,
	};
	diagnostics->error_count++;
}

static int error_compare(const void *left, const void *right)
{
	const struct diagnostic *a = left, *b = right;

	if (a->text_line != b->text_line)
		return a->text_line < b->text_line ? -1 : 1;
	return a->number < b->number ? -1 : 1;
}

void diagnostics_print(struct diagnostics *diagnostics, FILE *out)
{
	if (diagnostics->error_count > 0)
		qsort(diagnostics->errors, diagnostics->error_count, sizeof(struct diagnostic), error_compare);
	for (size_t i = 0; i < diagnostics->error_count; i++) {
		for (const char *c = diagnostics->errors[i].text; *c; c++) {
			if (*c < ' ' || *c > '~')
				fprintf(out, "\\x%02x", (unsigned char)*c);
			else
				fputc(*c, out);
		}
		fputc('\n', out);
	}
	if (diagnostics->lost)
		fprintf(out, "and %zu errors more\n", diagnostics->lost);
}

void diagnostics_done(struct diagnostics *diagnostics)
{
	for (size_t i = 0; i < diagnostics->error_count; i++)
		free(diagnostics->errors[i].text);
	free(diagnostics->errors);
	free(diagnostics->runs);
	*diagnostics = (struct diagnostics){ .runs = NULL };
}
