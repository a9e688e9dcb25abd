/* SPDX-License-Identifier: MIT */
#include "master/state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"

#define HEADER_SIZE 24

static const struct state_record samples[] = {
	{.kind = STATE_MASTER,
         .master = { .pid = 4711,
			.generation = UINT32_MAX,
			.version = "0.1.0",
			.board_fd = 7,
			.wake_fd = -1,
			.soft_descriptors = UINT64_MAX,
			.binary = "/usr/sbin/brood",
			.reset_oom_score = true }								  },
	{ .kind = STATE_CONFIG,   .config = { .text = "pool\0x {}", .text_size = 9 }                               },
	{ .kind = STATE_LISTENER,
         .listener = { .fd = 5,
			.pool = "web",
			.spec = "unix:/run/x",
			.origin = 2,
			.refused = true,
			.path_owner = 4711,
			.path_device = UINT64_C(1) << 63,
			.path_inode = 12345678901 }								},
	{ .kind = STATE_POOL,
         .pool = { .name = "web",
			.handler = "http",
			.spawn_count = UINT64_C(5000000000),
			.slow_count = UINT64_C(6000000000),
			.target = 8,
			.was_ready = true,
			.proven = true,
			.backoff_level = 1,
			.backoff_volley = 2,
			.backoff_until_ms = 3,
			.scaled = true,
			.degraded_ms = 4,
			.failures = 5,
			.last_failure = "exit status 1",
			.last_failure_ms = 6,
			.died_unready = 7,
			.died_serving = 8,
			.window = 4,
			.short_ms = 5,
			.shrunk_ms = 6,
			.waited_ms = 7 }									   },
	{ .kind = STATE_WORKER,
         .worker = { .pool = "web",
			.pid = INT32_MAX,
			.slot = 1,
			.board_slot = 2,
			.serial = 3,
			.generation = 4,
			.state = "retiring",
			.reason = "reload",
			.kind = 3,
			.signal = 23,
			.stop_signal = 15,
			.notify_fd = -1,
			.error = INT32_MIN,
			.was_ready = true,
			.volley = 5,
			.asked_ms = 6,
			.ready_ms = 7,
			.ready_at_ms = UINT64_MAX,
			.deadline_ms = 8,
			.worn = "max_age",
			.worn_ms = 9,
			.worn_at = 60001,
			.jitter_ppm = 77,
			.moved_since_us = 9,
			.moved_deadline_us = 10,
			.moved_by_us = 11 }									},
	{ .kind = STATE_OUTPUT,
         .output = { .fd = 9,
			.pool = "p",
			.slot = 3,
			.pid = 10,
			.stream = 1,
			.left = true,
			.peer = "192.0.2.1:80",
			.part = "half a line",
			.part_size = 11 }									  },
	{ .kind = STATE_LOGGER,   .logger = { .pid = 0, .read_fd = 10, .write_fd = 11, .counters_fd = 12 }         },
	{ .kind = STATE_PIDFILE,  .pidfile = { .path = "/run/brood.pid", .fd = 13 }                                },
	{ .kind = STATE_ACK,      .ack = { .fd = 14, .directory = "/run/brood/x", .path = "/run/brood/x/ack.sock" }},
	{ .kind = STATE_CONTROL,  .control = { .fd = 15, .path = "/run/c", .path_device = 1, .path_inode = 2 }     },
	{ .kind = STATE_CHILD,    .child = { .pid = 99, .stop_signal = 15, .what = "nursery", .deadline_ms = 5 }   },
	{ .kind = STATE_HUNT,     .hunt = { .worker = 100, .until_ms = 101 }                                       },
	{ .kind = STATE_CLIENT,   .client = { .fd = 16, .request = "upgrade" }                                     },
	{ .kind = STATE_MEMBER,   .member = { .pool = "web", .fd = 5 }                                             },
};

static void put(unsigned char *at, uint64_t number, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t get(const unsigned char *at, size_t size)
{
	uint64_t number = 0;

	for (size_t i = 0; i < size; i++)
		number |= (uint64_t)at[i] << (8 * i);
	return number;
}

static void write_samples(struct state_writer *writer)
{
	state_writer_init(writer);
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		state_write(writer, &samples[i]);
	cr_assert_eq(state_writer_finish(writer), 0);
}

/* What a record holds, as the bytes that it is written as. */
static void assert_same(const struct state_record *a, const struct state_record *b)
{
	struct state_writer one, other;

	state_writer_init(&one);
	state_writer_init(&other);
	state_write(&one, a);
	state_write(&other, b);
	cr_assert_eq(state_writer_finish(&one), 0);
	cr_assert_eq(state_writer_finish(&other), 0);
	cr_assert_eq(one.size, other.size);
	cr_assert_eq(memcmp(one.data, other.data, one.size), 0, "%s", state_kind_name(a->kind));
	state_writer_done(&one);
	state_writer_done(&other);
}

/* Reads a copy of exactly that size, so that a checker sees each byte too many. Returns what ended it, and how many
 * records came before. */
static int read_all(const unsigned char *data, size_t size, size_t *ret_count)
{
	unsigned char *copy = malloc(size == 0 ? 1 : size);
	struct state_record record;
	struct state_reader reader;
	size_t count = 0;
	int result;

	memcpy(copy, data, size);
	result = state_reader_init(&reader, copy, size);
	if (result == 0)
		while ((result = state_read(&reader, &record)) == 1)
			count++;
	*ret_count = count;
	if (result == -EBADMSG && count > 0)
		cr_assert_eq(state_read(&reader, &record), 0, "an error is for good");
	free(copy);
	return result;
}

Test(state, there_is_a_sample_of_each_kind)
{
	size_t kinds = 0;

	for (unsigned int kind = 0; kind < STATE_KINDS; kind++)
		kinds += state_kind_name((enum state_kind)kind) != NULL;
	cr_assert_eq(kinds, ARRAY_SIZE(samples));
	cr_assert_null(state_kind_name(STATE_KINDS));
	cr_assert_null(state_kind_name((enum state_kind)0));
}

Test(state, what_is_written_is_read)
{
	struct state_writer writer;
	struct state_record record;
	struct state_reader reader;

	write_samples(&writer);
	cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), 0);
	cr_assert_eq(reader.version, STATE_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		cr_assert_eq(state_read(&reader, &record), 1);
		cr_assert_eq(record.kind, samples[i].kind);
		assert_same(&record, &samples[i]);
	}
	cr_assert_eq(state_read(&reader, &record), 0);
	cr_assert_eq(state_read(&reader, &record), 0);
	state_writer_done(&writer);
}

Test(state, values_are_what_they_were)
{
	struct state_writer writer;
	struct state_record record;
	struct state_reader reader;

	write_samples(&writer);
	cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), 0);
	cr_assert_eq(state_read(&reader, &record), 1);
	cr_assert_eq(record.master.pid, 4711);
	cr_assert_eq(record.master.wake_fd, -1);
	cr_assert_eq(record.master.soft_descriptors, UINT64_MAX);
	cr_assert_str_eq(record.master.binary, "/usr/sbin/brood");
	cr_assert(record.master.reset_oom_score);
	cr_assert_eq(state_read(&reader, &record), 1);
	cr_assert_eq(record.config.text_size, 9);
	cr_assert_eq(memcmp(record.config.text, "pool\0x {}", 9), 0);
	cr_assert_eq(state_read(&reader, &record), 1);
	cr_assert_eq(record.listener.path_device, UINT64_C(1) << 63);
	cr_assert_eq(state_read(&reader, &record), 1);
	cr_assert_eq(record.pool.spawn_count, UINT64_C(5000000000));
	cr_assert_eq(record.pool.slow_count, UINT64_C(6000000000));
	cr_assert_eq(state_read(&reader, &record), 1);
	cr_assert_eq(record.worker.error, INT32_MIN);
	cr_assert_str_eq(record.worker.state, "retiring");
	state_writer_done(&writer);
}

Test(state, nothing_is_a_state_without_records)
{
	struct state_writer writer;
	size_t count;

	state_writer_init(&writer);
	cr_assert_eq(state_writer_finish(&writer), 0);
	cr_assert_eq(writer.size, HEADER_SIZE);
	cr_assert_eq(read_all(writer.data, writer.size, &count), 0);
	cr_assert_eq(count, 0);
	state_writer_done(&writer);
}

Test(state, a_record_of_no_kind_is_not_written)
{
	struct state_writer writer;
	const struct state_record none = { .kind = STATE_KINDS };

	state_writer_init(&writer);
	state_write(&writer, &samples[0]);
	state_write(&writer, &none);
	state_write(&writer, &samples[1]);
	cr_assert_eq(state_writer_finish(&writer), -EINVAL);
	state_writer_done(&writer);
}

Test(state, more_than_may_be_read_is_not_written)
{
	struct state_writer writer;
	const struct state_record huge = {
		.kind = STATE_CONFIG, .config = {.text = "x", .text_size = (size_t)STATE_SIZE_MAX + 1}
	};

	state_writer_init(&writer);
	state_write(&writer, &huge);
	cr_assert_eq(state_writer_finish(&writer), -EFBIG);
	state_writer_done(&writer);
}

Test(state, descriptors_are_known_by_the_record)
{
	static const size_t expected[STATE_KINDS] = { [STATE_MASTER] = 1,
		[STATE_LISTENER] = 1,
		[STATE_OUTPUT] = 1,
		[STATE_LOGGER] = 3,
		[STATE_PIDFILE] = 1,
		[STATE_ACK] = 1,
		[STATE_CONTROL] = 1,
		[STATE_CLIENT] = 1 };
	size_t found = 0;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		int fds[STATE_DESCRIPTORS_MAX];
		size_t count = state_descriptors(&samples[i], fds);

		cr_assert_eq(count, expected[samples[i].kind], "%s", state_kind_name(samples[i].kind));
		for (size_t k = 0; k < count; k++)
			found += (size_t)fds[k];
	}
	cr_assert_eq(found, 7 + 5 + 9 + 10 + 11 + 12 + 13 + 14 + 15 + 16);
}

/* ---- versions ---- */

/* The samples, with a record of KIND and SIZE before each of them and behind the last one. */
static unsigned char *with_strangers(const struct state_writer *writer, uint32_t kind, uint32_t size, size_t *ret_size)
{
	size_t most = writer->size + (ARRAY_SIZE(samples) + 1) * (8 + size);
	unsigned char *data = calloc(1, most);
	size_t used = HEADER_SIZE, from = HEADER_SIZE;

	memcpy(data, writer->data, HEADER_SIZE);
	for (;;) {
		size_t record;

		put(data + used, kind, 4);
		put(data + used + 4, size, 4);
		memset(data + used + 8, 0xa5, size);
		used += 8 + size;
		if (from == writer->size)
			break;
		record = 8 + (size_t)get(writer->data + from + 4, 4);
		memcpy(data + used, writer->data + from, record);
		used += record;
		from += record;
	}
	put(data + 16, used, 8);
	*ret_size = used;
	return data;
}

Test(state, records_of_unknown_kinds_are_skipped)
{
	static const uint32_t kinds[] = { 0, STATE_KINDS, 1000, UINT32_MAX };
	static const uint32_t sizes[] = { 0, 1, 7, 5000 };
	struct state_writer writer;

	write_samples(&writer);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
			size_t size, count;
			unsigned char *data = with_strangers(&writer, kinds[i], sizes[k], &size);

			cr_assert_eq(read_all(data, size, &count), 0);
			cr_assert_eq(count, ARRAY_SIZE(samples));
			free(data);
		}
	}
	state_writer_done(&writer);
}

/* One record, with MORE bytes behind its fields, or LESS of them. */
static unsigned char *resized(const struct state_record *record, size_t more, size_t less, size_t *ret_size)
{
	struct state_writer writer;
	unsigned char *data;

	state_writer_init(&writer);
	state_write(&writer, record);
	cr_assert_eq(state_writer_finish(&writer), 0);
	data = calloc(1, writer.size + more);
	memcpy(data, writer.data, writer.size);
	memset(data + writer.size, 0xff, more);
	*ret_size = writer.size + more - less;
	put(data + 16, *ret_size, 8);
	put(data + HEADER_SIZE + 4, *ret_size - HEADER_SIZE - 8, 4);
	state_writer_done(&writer);
	return data;
}

Test(state, fields_behind_those_that_are_known_are_skipped)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t size;
		unsigned char *data = resized(&samples[i], 21, 0, &size);
		struct state_reader reader;
		struct state_record record;

		cr_assert_eq(state_reader_init(&reader, data, size), 0);
		cr_assert_eq(state_read(&reader, &record), 1);
		assert_same(&record, &samples[i]);
		cr_assert_eq(state_read(&reader, &record), 0);
		free(data);
	}
}

Test(state, fields_of_the_first_version_must_be_there)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t size, count;
		unsigned char *data = resized(&samples[i], 0, 1, &size);

		cr_assert_eq(read_all(data, size, &count), -EBADMSG, "%s", state_kind_name(samples[i].kind));
		free(data);
	}
}

Test(state, a_later_version_is_read_if_it_says_so)
{
	struct state_writer writer;
	struct state_reader reader;

	write_samples(&writer);
	put(writer.data + 8, STATE_VERSION + 7, 4);
	cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), 0);
	cr_assert_eq(reader.version, STATE_VERSION + 7);
	put(writer.data + 12, STATE_VERSION + 1, 4);
	cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), -EPROTONOSUPPORT);
	/* Even if it has something else where the size is. */
	put(writer.data + 16, 1, 8);
	cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), -EPROTONOSUPPORT);
	state_writer_done(&writer);
}

Test(state, an_earlier_version_is_read)
{
	struct state_writer writer;
	size_t count;

	write_samples(&writer);
	put(writer.data + 8, 0, 4);
	put(writer.data + 12, 0, 4);
	cr_assert_eq(read_all(writer.data, writer.size, &count), 0);
	cr_assert_eq(count, ARRAY_SIZE(samples));
	state_writer_done(&writer);
}

/* ---- what is no state ---- */

Test(state, what_is_cut_off_is_none)
{
	struct state_writer writer;
	size_t count;

	write_samples(&writer);
	for (size_t size = 0; size < writer.size; size++) {
		cr_assert_eq(read_all(writer.data, size, &count), -EBADMSG, "%zu", size);
		cr_assert_eq(count, 0);
	}
	state_writer_done(&writer);
}

/* Where the header agrees, what is whole is read. */
Test(state, what_is_cut_off_within_a_record_ends_there)
{
	struct state_writer writer;
	size_t ends[ARRAY_SIZE(samples) + 1] = { HEADER_SIZE };
	size_t whole = 0;

	write_samples(&writer);
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		ends[i + 1] = ends[i] + 8 + (size_t)get(writer.data + ends[i] + 4, 4);
	cr_assert_eq(ends[ARRAY_SIZE(samples)], writer.size);
	for (size_t size = HEADER_SIZE; size <= writer.size; size++) {
		size_t count;
		int result;

		if (whole < ARRAY_SIZE(samples) && size == ends[whole + 1])
			whole++;
		put(writer.data + 16, size, 8);
		result = read_all(writer.data, size, &count);
		cr_assert_eq(result, size == ends[whole] ? 0 : -EBADMSG, "%zu", size);
		cr_assert_eq(count, whole, "%zu", size);
	}
	state_writer_done(&writer);
}

Test(state, another_file_is_none)
{
	static const char text[] = "a text that is longer than the header of a state is";
	size_t count;

	cr_assert_eq(read_all((const unsigned char *)text, sizeof(text), &count), -EBADMSG);
	cr_assert_eq(read_all((const unsigned char *)"", 0, &count), -EBADMSG);
}

/* A field of the one record's, at OFFSET behind its head, is overwritten. */
static int read_with(const struct state_record *record, size_t offset, uint64_t number, size_t size)
{
	struct state_writer writer;
	size_t count;
	int result;

	state_writer_init(&writer);
	state_write(&writer, record);
	cr_assert_eq(state_writer_finish(&writer), 0);
	put(writer.data + HEADER_SIZE + 8 + offset, number, size);
	result = read_all(writer.data, writer.size, &count);
	state_writer_done(&writer);
	return result;
}

Test(state, numbers_have_their_place)
{
	const struct state_record hunt = { .kind = STATE_HUNT, .hunt = { .worker = 1 } };
	const struct state_record pool = { .kind = STATE_POOL };

	cr_assert_eq(read_with(&hunt, 0, INT32_MAX, 8), 0);
	cr_assert_eq(read_with(&hunt, 0, (uint64_t)INT32_MIN, 8), 0);
	cr_assert_eq(read_with(&hunt, 0, (uint64_t)INT32_MAX + 1, 8), -EBADMSG);
	cr_assert_eq(read_with(&hunt, 0, UINT64_C(1) << 32, 8), -EBADMSG);
	cr_assert_eq(read_with(&hunt, 8, UINT64_MAX, 8), 0);
	/* name and handler are empty; generation and spawn count; the target; the first flag */
	cr_assert_eq(read_with(&pool, 24, UINT32_MAX, 8), 0);
	cr_assert_eq(read_with(&pool, 24, UINT64_C(1) << 32, 8), -EBADMSG);
	cr_assert_eq(read_with(&pool, 32, 1, 8), 0);
	cr_assert_eq(read_with(&pool, 32, 2, 8), -EBADMSG);
}

Test(state, texts_have_their_room)
{
	struct state_record control = { .kind = STATE_CONTROL };
	struct state_record longest = { .kind = STATE_CONFIG };
	char text[300];
	size_t size, count;
	unsigned char *data;

	memset(text, 'x', sizeof(text));
	memcpy(control.control.path, text, sizeof(control.control.path) - 1);
	data = resized(&control, 0, 0, &size);
	cr_assert_eq(read_all(data, size, &count), 0);
	/* One byte more: fd, the text's size, the text. */
	free(data);
	data = resized(&control, 1, 0, &size);
	put(data + HEADER_SIZE + 8 + 8, sizeof(control.control.path), 4);
	cr_assert_eq(read_all(data, size, &count), -EBADMSG);
	/* A 0 within. */
	put(data + HEADER_SIZE + 8 + 8, sizeof(control.control.path) - 1, 4);
	put(data + HEADER_SIZE + 8 + 12 + 5, 0, 1);
	cr_assert_eq(read_all(data, size, &count), -EBADMSG);
	free(data);
	/* A size of more than there is. */
	longest.config.text = text;
	longest.config.text_size = sizeof(text);
	cr_assert_eq(read_with(&longest, 0, UINT32_MAX, 4), -EBADMSG);
	cr_assert_eq(read_with(&longest, 0, sizeof(text) + 1, 4), -EBADMSG);
	cr_assert_eq(read_with(&longest, 0, sizeof(text), 4), 0);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Whatever is overwritten, reading ends, and stays within what is there. */
Test(state, any_bytes_are_read_to_an_end)
{
	struct state_writer writer;
	uint64_t seed = 88172645463325252;

	write_samples(&writer);
	for (int round = 0; round < 20000; round++) {
		unsigned char *data = malloc(writer.size);
		size_t count;

		memcpy(data, writer.data, writer.size);
		for (uint64_t i = 1 + next_random(&seed) % 4; i > 0; i--)
			data[HEADER_SIZE + next_random(&seed) % (writer.size - HEADER_SIZE)] =
				(unsigned char)next_random(&seed);
		read_all(data, writer.size, &count);
		cr_assert_leq(count, ARRAY_SIZE(samples) + writer.size / 8);
		free(data);
	}
	state_writer_done(&writer);
}

/* Any numbers and texts come back as they were. */
Test(state, any_record_is_read_as_it_was_written)
{
	uint64_t seed = 2463534242;

	for (int round = 0; round < 2000; round++) {
		struct state_record record = { .kind = STATE_WORKER }, again;
		struct state_writer writer;
		struct state_reader reader;

		record.worker.pid = (pid_t)next_random(&seed);
		record.worker.signal = (int)next_random(&seed);
		record.worker.serial = (uint32_t)next_random(&seed);
		record.worker.deadline_ms = next_random(&seed);
		record.worker.was_ready = (next_random(&seed) & 1) != 0;
		for (uint64_t i = next_random(&seed) % (sizeof(record.worker.pool) - 1); i > 0; i--)
			record.worker.pool[i - 1] = (char)(1 + next_random(&seed) % 255);
		state_writer_init(&writer);
		state_write(&writer, &record);
		cr_assert_eq(state_writer_finish(&writer), 0);
		cr_assert_eq(state_reader_init(&reader, writer.data, writer.size), 0);
		cr_assert_eq(state_read(&reader, &again), 1);
		cr_assert_eq(again.worker.pid, record.worker.pid);
		cr_assert_eq(again.worker.signal, record.worker.signal);
		cr_assert_eq(again.worker.serial, record.worker.serial);
		cr_assert_eq(again.worker.deadline_ms, record.worker.deadline_ms);
		cr_assert_eq(again.worker.was_ready, record.worker.was_ready);
		cr_assert_str_eq(again.worker.pool, record.worker.pool);
		state_writer_done(&writer);
	}
}

/* ---- the descriptor ---- */

Test(state, a_memfd_holds_it_for_good)
{
	struct state_writer writer;
	void *data;
	size_t size;
	int fd;

	write_samples(&writer);
	fd = state_memfd_make(writer.data, writer.size);
	cr_assert_geq(fd, 0);
	cr_assert_neq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	cr_assert_lt(write(fd, "x", 1), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(state_memfd_read(fd, &data, &size), 0);
		cr_assert_eq(size, writer.size);
		cr_assert_eq(memcmp(data, writer.data, size), 0);
		free(data);
	}
	close(fd);
	state_writer_done(&writer);
}

Test(state, other_descriptors_hold_none)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	void *data;
	size_t size;
	int ends[2];

	cr_assert_eq(state_memfd_read(-1, &data, &size), -EBADF);
	cr_assert_eq(state_memfd_read(null, &data, &size), -EBADMSG);
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(state_memfd_read(ends[0], &data, &size), -EBADMSG);
	close(null);
	close(ends[0]);
	close(ends[1]);
}
