/* SPDX-License-Identifier: MIT */
#include "master/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/*
 * The form, in bytes; all numbers are little-endian, so that two images of one machine agree whatever they are built
 * for:
 *
 *	header	magic 8, version 4, oldest reader 4, size of the whole 8
 *	record	kind 4, size of its fields 4, the fields
 *	field	a number: 8 (signed ones as two's complement); a text or bytes: size 4, and so many bytes
 */
static const unsigned char magic[8] = { 'b', 'r', 'o', 'o', 'd', 'u', 'p', '\n' };

#define HEADER_SIZE 24
#define RECORD_HEAD 8
#define NUMBER_SIZE 8
#define LENGTH_SIZE 4
#define ROOM_MIN    4096

/* ---- the tables ---- */

enum field_type {
	FIELD_UNSIGNED,
	FIELD_SIGNED,
	FIELD_FLAG,
	FIELD_TEXT,  /* an array of characters, ended by 0 */
	FIELD_BYTES, /* a pointer, and behind it a size */
};

struct field {
	enum field_type type;
	size_t offset; /* in the record's structure */
	size_t size;
};

/* NOLINTBEGIN(bugprone-macro-parentheses): KIND and MEMBER are names. */
#define FIELD(kind, member, field_type)                                                                                \
	{                                                                                                              \
		.type = (field_type), .offset = offsetof(struct state_record, kind.member),                            \
		.size = sizeof(((struct state_record *)NULL)->kind.member)                                             \
	}
/* NOLINTEND(bugprone-macro-parentheses) */
#define UNSIGNED(kind, member) FIELD(kind, member, FIELD_UNSIGNED)
#define SIGNED(kind, member)   FIELD(kind, member, FIELD_SIGNED)
#define FLAG(kind, member)     FIELD(kind, member, FIELD_FLAG)
#define TEXT(kind, member)     FIELD(kind, member, FIELD_TEXT)
#define BYTES(kind, member)    FIELD(kind, member, FIELD_BYTES)

static const struct field master_fields[] = {
	SIGNED(master, pid),
	UNSIGNED(master, generation),
	TEXT(master, version),
	SIGNED(master, board_fd),
	SIGNED(master, wake_fd),
	UNSIGNED(master, soft_descriptors),
	TEXT(master, binary),
	FLAG(master, reset_oom_score),
	UNSIGNED(master, skipped_ms),
};

static const struct field config_fields[] = { BYTES(config, text) };

static const struct field listener_fields[] = {
	SIGNED(listener, fd),
	TEXT(listener, pool),
	TEXT(listener, spec),
	UNSIGNED(listener, origin),
	FLAG(listener, refused),
	SIGNED(listener, path_owner),
	UNSIGNED(listener, path_device),
	UNSIGNED(listener, path_inode),
};

static const struct field pool_fields[] = {
	TEXT(pool, name),
	TEXT(pool, handler),
	UNSIGNED(pool, generation),
	UNSIGNED(pool, spawn_count),
	UNSIGNED(pool, target),
	FLAG(pool, was_ready),
	FLAG(pool, proven),
	UNSIGNED(pool, backoff_level),
	UNSIGNED(pool, backoff_volley),
	UNSIGNED(pool, backoff_until_ms),
	FLAG(pool, scaled),
	UNSIGNED(pool, recycled_requests),
	UNSIGNED(pool, recycled_age),
	UNSIGNED(pool, recycled_memory),
	UNSIGNED(pool, degraded_ms),
	UNSIGNED(pool, failures),
	TEXT(pool, last_failure),
	UNSIGNED(pool, last_failure_ms),
	UNSIGNED(pool, died_unready),
	UNSIGNED(pool, died_serving),
	UNSIGNED(pool, slow_count),
	UNSIGNED(pool, window),
	UNSIGNED(pool, short_ms),
	UNSIGNED(pool, shrunk_ms),
	UNSIGNED(pool, waited_ms),
};

static const struct field worker_fields[] = {
	TEXT(worker, pool),
	SIGNED(worker, pid),
	UNSIGNED(worker, slot),
	UNSIGNED(worker, board_slot),
	UNSIGNED(worker, serial),
	UNSIGNED(worker, generation),
	TEXT(worker, state),
	TEXT(worker, reason),
	UNSIGNED(worker, kind),
	SIGNED(worker, signal),
	SIGNED(worker, stop_signal),
	SIGNED(worker, notify_fd),
	SIGNED(worker, error),
	FLAG(worker, was_ready),
	UNSIGNED(worker, volley),
	UNSIGNED(worker, asked_ms),
	UNSIGNED(worker, ready_ms),
	UNSIGNED(worker, ready_at_ms),
	UNSIGNED(worker, deadline_ms),
	UNSIGNED(worker, slow_us),
	TEXT(worker, worn),
	UNSIGNED(worker, worn_ms),
	UNSIGNED(worker, worn_at),
	UNSIGNED(worker, jitter_ppm),
	UNSIGNED(worker, moved_since_us),
	UNSIGNED(worker, moved_deadline_us),
	UNSIGNED(worker, moved_by_us),
};

static const struct field output_fields[] = {
	SIGNED(output, fd),
	TEXT(output, pool),
	UNSIGNED(output, slot),
	SIGNED(output, pid),
	UNSIGNED(output, stream),
	FLAG(output, left),
	TEXT(output, peer),
	BYTES(output, part),
};

static const struct field logger_fields[] = {
	SIGNED(logger, pid),
	SIGNED(logger, read_fd),
	SIGNED(logger, write_fd),
	SIGNED(logger, counters_fd),
};

static const struct field pidfile_fields[] = { TEXT(pidfile, path), SIGNED(pidfile, fd) };

static const struct field ack_fields[] = { SIGNED(ack, fd), TEXT(ack, directory), TEXT(ack, path) };

static const struct field control_fields[] = {
	SIGNED(control, fd),
	TEXT(control, path),
	UNSIGNED(control, path_device),
	UNSIGNED(control, path_inode),
};

static const struct field child_fields[] = {
	SIGNED(child, pid),
	SIGNED(child, stop_signal),
	TEXT(child, what),
	UNSIGNED(child, deadline_ms),
};

static const struct field hunt_fields[] = { SIGNED(hunt, worker), UNSIGNED(hunt, until_ms) };

static const struct field client_fields[] = { SIGNED(client, fd), TEXT(client, request) };

static const struct field member_fields[] = { TEXT(member, pool), SIGNED(member, fd) };

struct shape {
	const char *name;
	const struct field *fields;
	size_t count;
	size_t required; /* the fields of the first version; those behind them may be missing */
};

#define SHAPE(kind, first_fields)                                                                                      \
	{                                                                                                              \
#kind, kind##_fields, ARRAY_SIZE(kind##_fields), (first_fields)                                        \
	}

static const struct shape shapes[STATE_KINDS] = {
	[STATE_MASTER] = SHAPE(master, 8),
	[STATE_CONFIG] = SHAPE(config, 1),
	[STATE_LISTENER] = SHAPE(listener, 8),
	[STATE_POOL] = SHAPE(pool, 10),
	[STATE_WORKER] = SHAPE(worker, 19),
	[STATE_OUTPUT] = SHAPE(output, 8),
	[STATE_LOGGER] = SHAPE(logger, 4),
	[STATE_PIDFILE] = SHAPE(pidfile, 2),
	[STATE_ACK] = SHAPE(ack, 3),
	[STATE_CONTROL] = SHAPE(control, 4),
	[STATE_CHILD] = SHAPE(child, 3),
	[STATE_HUNT] = SHAPE(hunt, 2),
	[STATE_CLIENT] = SHAPE(client, 2),
	[STATE_MEMBER] = SHAPE(member, 2),
};

/* NULL for a kind that is not known. */
static const struct shape *shape_of(uint32_t kind)
{
	return kind < STATE_KINDS && shapes[kind].name != NULL ? &shapes[kind] : NULL;
}

const char *state_kind_name(enum state_kind kind)
{
	const struct shape *shape = shape_of((uint32_t)kind);

	return shape == NULL ? NULL : shape->name;
}

size_t state_descriptors(const struct state_record *record, int ret_fds[STATE_DESCRIPTORS_MAX])
{
	int fds[STATE_DESCRIPTORS_MAX] = { -1, -1, -1 };
	size_t count = 0;

	switch (record->kind) {
	case STATE_MASTER:
		fds[0] = record->master.board_fd;
		fds[1] = record->master.wake_fd;
		break;
	case STATE_LISTENER:
		fds[0] = record->listener.fd;
		break;
	case STATE_WORKER:
		fds[0] = record->worker.notify_fd;
		break;
	case STATE_OUTPUT:
		fds[0] = record->output.fd;
		break;
	case STATE_LOGGER:
		fds[0] = record->logger.read_fd;
		fds[1] = record->logger.write_fd;
		fds[2] = record->logger.counters_fd;
		break;
	case STATE_PIDFILE:
		fds[0] = record->pidfile.fd;
		break;
	case STATE_ACK:
		fds[0] = record->ack.fd;
		break;
	case STATE_CONTROL:
		fds[0] = record->control.fd;
		break;
	case STATE_CLIENT:
		fds[0] = record->client.fd;
		break;
	default:
		break;
	}
	for (size_t i = 0; i < STATE_DESCRIPTORS_MAX; i++)
		if (fds[i] >= 0)
			ret_fds[count++] = fds[i];
	return count;
}

/* ---- numbers ---- */

static void put_number(unsigned char *at, uint64_t number, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t get_number(const unsigned char *at, size_t size)
{
	uint64_t number = 0;

	for (size_t i = 0; i < size; i++)
		number |= (uint64_t)at[i] << (8 * i);
	return number;
}

/* A member, of 1, 4 or 8 bytes, as a number of 64 bits. */
static uint64_t load_number(const struct field *field, const void *member)
{
	uint32_t word;
	uint64_t number;

	if (field->size == sizeof(bool))
		return *(const bool *)member;
	if (field->size == sizeof(number)) {
		memcpy(&number, member, sizeof(number));
		return number;
	}
	memcpy(&word, member, sizeof(word));
	return field->type == FIELD_SIGNED ? (uint64_t)(int64_t)(int32_t)word : word;
}

/* Whether the number has a place in the member. */
static bool store_number(const struct field *field, uint64_t number, void *member)
{
	uint32_t word = (uint32_t)number;

	if (field->type == FIELD_FLAG) {
		*(bool *)member = number != 0;
		return number <= 1;
	}
	if (field->size == sizeof(number)) {
		memcpy(member, &number, sizeof(number));
		return true;
	}
	memcpy(member, &word, sizeof(word));
	return load_number(field, member) == number;
}

/* What is behind the pointer of FIELD_BYTES. */
static size_t *bytes_size(void *member)
{
	return (size_t *)(void *)((char *)member + sizeof(char *));
}
static_assert(
	offsetof(struct state_config, text_size) == offsetof(struct state_config, text) + sizeof(char *), "bytes");
static_assert(
	offsetof(struct state_output, part_size) == offsetof(struct state_output, part) + sizeof(char *), "bytes");

/* ---- writing ---- */

void state_writer_init(struct state_writer *writer)
{
	*writer = (struct state_writer){ 0 };
}

void state_writer_done(struct state_writer *writer)
{
	free(writer->data);
	state_writer_init(writer);
}

/* Room for SIZE bytes more, which count from now on. NULL where there is none. */
static unsigned char *extend(struct state_writer *writer, size_t size)
{
	size_t needed = writer->size + size;
	unsigned char *place;

	if (writer->error == 0 && needed > STATE_SIZE_MAX)
		writer->error = -EFBIG;
	if (writer->error == 0 && needed > writer->room) {
		size_t room = 2 * needed < ROOM_MIN ? ROOM_MIN : 2 * needed;
		unsigned char *data = realloc(writer->data, room);

		if (data == NULL) {
			writer->error = -ENOMEM;
		} else {
			writer->data = data;
			writer->room = room;
		}
	}
	if (writer->error < 0)
		return NULL;
	place = writer->data + writer->size;
	writer->size = needed;
	return place;
}

static void write_number(struct state_writer *writer, uint64_t number, size_t size)
{
	unsigned char *place = extend(writer, size);

	if (place != NULL)
		put_number(place, number, size);
}

static void write_bytes(struct state_writer *writer, const char *bytes, size_t size)
{
	unsigned char *place;

	if (size > STATE_SIZE_MAX) {
		writer->error = writer->error < 0 ? writer->error : -EFBIG;
		return;
	}
	write_number(writer, size, LENGTH_SIZE);
	place = extend(writer, size);
	if (place != NULL && size > 0)
		memcpy(place, bytes, size);
}

static void write_field(struct state_writer *writer, const struct field *field, const void *member)
{
	const char *bytes;

	switch (field->type) {
	case FIELD_TEXT:
		write_bytes(writer, member, strnlen(member, field->size - 1));
		break;
	case FIELD_BYTES:
		memcpy(&bytes, member, sizeof(bytes));
		write_bytes(writer, bytes, *(const size_t *)(const void *)((const char *)member + sizeof(bytes)));
		break;
	default:
		write_number(writer, load_number(field, member), NUMBER_SIZE);
		break;
	}
}

void state_write(struct state_writer *writer, const struct state_record *record)
{
	const struct shape *shape = shape_of((uint32_t)record->kind);
	size_t head;

	if (writer->size == 0)
		extend(writer, HEADER_SIZE);
	if (shape == NULL) {
		writer->error = writer->error < 0 ? writer->error : -EINVAL;
		return;
	}
	head = writer->size;
	extend(writer, RECORD_HEAD);
	for (size_t i = 0; i < shape->count; i++)
		write_field(writer, &shape->fields[i], (const char *)record + shape->fields[i].offset);
	if (writer->error < 0)
		return;
	put_number(writer->data + head, (uint64_t)record->kind, 4);
	put_number(writer->data + head + 4, writer->size - head - RECORD_HEAD, 4);
}

int state_writer_finish(struct state_writer *writer)
{
	if (writer->size == 0)
		extend(writer, HEADER_SIZE);
	if (writer->error < 0)
		return writer->error;
	memcpy(writer->data, magic, sizeof(magic));
	put_number(writer->data + 8, STATE_VERSION, 4);
	put_number(writer->data + 12, STATE_READER, 4);
	put_number(writer->data + 16, writer->size, 8);
	return 0;
}

/* ---- reading ---- */

int state_reader_init(struct state_reader *reader, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	if (size < HEADER_SIZE || memcmp(bytes, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	/* Before the size: what a later form has there is not known. */
	if (get_number(bytes + 12, 4) > STATE_VERSION)
		return -EPROTONOSUPPORT;
	if (get_number(bytes + 16, 8) != size)
		return -EBADMSG;
	*reader = (struct state_reader){
		.version = (uint32_t)get_number(bytes + 8, 4),
		.data = bytes + HEADER_SIZE,
		.size = size - HEADER_SIZE,
	};
	return 0;
}

/* Takes SIZE bytes. NULL where there are not so many. */
static const unsigned char *take(struct state_reader *reader, size_t size)
{
	const unsigned char *taken = reader->data;

	if (size > reader->size)
		return NULL;
	reader->data += size;
	reader->size -= size;
	return taken;
}

static int read_text(const struct field *field, const unsigned char *text, size_t size, char *member)
{
	if (size >= field->size || memchr(text, '\0', size) != NULL)
		return -EBADMSG;
	memcpy(member, text, size);
	member[size] = '\0';
	return 0;
}

static int read_bytes(struct state_reader *reader, const struct field *field, void *member)
{
	const unsigned char *place = take(reader, LENGTH_SIZE);
	const char *bytes;
	size_t size;

	if (place == NULL)
		return -EBADMSG;
	size = (size_t)get_number(place, LENGTH_SIZE);
	place = take(reader, size);
	if (place == NULL)
		return -EBADMSG;
	if (field->type == FIELD_TEXT)
		return read_text(field, place, size, member);
	bytes = (const char *)place;
	memcpy(member, &bytes, sizeof(bytes));
	*bytes_size(member) = size;
	return 0;
}

static int read_field(struct state_reader *reader, const struct field *field, void *member)
{
	const unsigned char *place;

	if (field->type == FIELD_TEXT || field->type == FIELD_BYTES)
		return read_bytes(reader, field, member);
	place = take(reader, NUMBER_SIZE);
	return place != NULL && store_number(field, get_number(place, NUMBER_SIZE), member) ? 0 : -EBADMSG;
}

/* FIELDS: what the record holds, all of it. */
static int read_record(struct state_reader *fields, const struct shape *shape, struct state_record *record)
{
	for (size_t i = 0; i < shape->count; i++) {
		int result;

		if (fields->size == 0 && i >= shape->required)
			return 0;
		result = read_field(fields, &shape->fields[i], (char *)record + shape->fields[i].offset);
		if (result < 0)
			return result;
	}
	return 0;
}

int state_read(struct state_reader *reader, struct state_record *ret_record)
{
	struct state_record record;

	while (reader->size > 0) {
		const unsigned char *head = take(reader, RECORD_HEAD);
		struct state_reader fields = { 0 };
		const struct shape *shape;
		uint32_t kind;

		if (head != NULL) {
			fields.size = (size_t)get_number(head + 4, 4);
			fields.data = take(reader, fields.size);
		}
		if (fields.data == NULL) {
			reader->size = 0;
			return -EBADMSG;
		}
		kind = (uint32_t)get_number(head, 4);
		shape = shape_of(kind);
		if (shape == NULL)
			continue;
		memset(&record, 0, sizeof(record));
		record.kind = (enum state_kind)kind;
		if (read_record(&fields, shape, &record) < 0) {
			reader->size = 0;
			return -EBADMSG;
		}
		*ret_record = record;
		return 1;
	}
	return 0;
}

/* ---- the descriptor ---- */

int state_memfd_make(const void *data, size_t size)
{
	FD_AUTO int fd = memfd_create("brood-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int result;

	if (fd < 0)
		return -errno;
	result = fd_write_all(fd, data, size);
	if (result < 0)
		return result;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return fd_steal(&fd);
}

static int read_all(int fd, char *data, size_t size)
{
	size_t done = 0;

	/* From its beginning, wherever its writer has left the offset, which two readers share. */
	while (done < size) {
		ssize_t got = pread(fd, data + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		done += (size_t)got;
	}
	return 0;
}

int state_memfd_read(int fd, void **ret_data, size_t *ret_size)
{
	struct stat status;
	char *data;
	int result;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EBADMSG;
	if (status.st_size > STATE_SIZE_MAX)
		return -EFBIG;
	data = malloc((size_t)status.st_size + 1);
	if (data == NULL)
		return -ENOMEM;
	result = read_all(fd, data, (size_t)status.st_size);
	if (result < 0) {
		free(data);
		return result;
	}
	*ret_data = data;
	*ret_size = (size_t)status.st_size;
	return 0;
}
