/* SPDX-License-Identifier: MIT */
/*
 * What a master of another version hands over. What was read is written, and read again, as the same; what no bytes may
 * bring about is checked by abort(). The header's magic and size are made to fit, so that the records are reached.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "master/state.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_SIZE 24

static void fit_header(uint8_t *data, size_t size)
{
	struct state_writer writer;

	state_writer_init(&writer);
	MUST(state_writer_finish(&writer) == 0);
	memcpy(data, writer.data, 8);
	for (size_t i = 0; i < 8; i++)
		data[16 + i] = (uint8_t)((uint64_t)size >> (8 * i));
	state_writer_done(&writer);
}

static void check_text(const char *text, size_t room)
{
	MUST(memchr(text, '\0', room) != NULL);
}

static void check_record(const struct state_record *record, const uint8_t *data, size_t size)
{
	MUST(state_kind_name(record->kind) != NULL);
	if (record->kind == STATE_WORKER)
		check_text(record->worker.state, sizeof(record->worker.state));
	if (record->kind == STATE_PIDFILE)
		check_text(record->pidfile.path, sizeof(record->pidfile.path));
	if (record->kind == STATE_CONFIG) {
		const uint8_t *text = (const uint8_t *)record->config.text;

		MUST(text >= data && text <= data + size && record->config.text_size <= (size_t)(data + size - text));
	}
}

/* Reads all of DATA and writes it again. Returns what ended it. */
static int read_and_write(const uint8_t *data, size_t size, struct state_writer *writer, size_t *ret_count)
{
	struct state_reader reader;
	struct state_record record;
	int result = state_reader_init(&reader, data, size);

	state_writer_init(writer);
	*ret_count = 0;
	while (result == 0 && (result = state_read(&reader, &record)) == 1) {
		check_record(&record, data, size);
		state_write(writer, &record);
		(*ret_count)++;
		result = 0;
	}
	MUST(state_writer_finish(writer) == 0);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_writer first, second;
	size_t count, again;
	uint8_t *copy;
	int result;

	if (size < HEADER_SIZE)
		return 0;
	copy = malloc(size);
	memcpy(copy, data, size);
	fit_header(copy, size);
	result = read_and_write(copy, size, &first, &count);
	MUST(result == 0 || result == -EBADMSG || (result == -EPROTONOSUPPORT && count == 0));
	MUST(read_and_write(first.data, first.size, &second, &again) == 0 && again == count);
	MUST(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
	state_writer_done(&first);
	state_writer_done(&second);
	free(copy);
	return 0;
}
