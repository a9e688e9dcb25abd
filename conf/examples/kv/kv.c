/* SPDX-License-Identifier: MIT */
/*
 * kv: a small key-value store as a module for brood. kv-client.c is its client, kv.conf a configuration for it.
 *
 * A request and its answer are messages, each with its length in front in 4 bytes, big-endian:
 *
 *	GET KEY          +VALUE, or -not found
 *	SET KEY VALUE    +
 *	DEL KEY          +, or -not found
 *
 * A key is 1 to 200 letters, digits, "-", "_" and ".", not "." at first; a value is any bytes. What a request asks
 * wrongly is answered by "-" and the reason. A connection carries any number of requests.
 *
 * Workers are processes of their own and share no memory, so the values are files: one for each key, in `directory`.
 * A value is written beside its place and renamed into it. A reader sees the old value or the new one, whole, and of
 * two writers the later wins; there is nothing like "compare and set". It is as fast as the file system, and a value
 * that has been answered with "+" survives the worker; with `sync = on` the machine too.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <brood/message.h>
#include <brood/module.h>

#define KEY_MAX  200
#define USAGE    "-what is wanted is GET KEY, SET KEY VALUE or DEL KEY"
#define TOO_LONG "-the request is too long"

enum {
	OPTION_DIRECTORY,
	OPTION_MAX_VALUE,
	OPTION_SYNC,
};

static const struct brood_option options[] = {
	[OPTION_DIRECTORY] = {
		.name = "directory",
		.type = BROOD_OPTION_DIRECTORY,
		.help = "Where the values are; the pool's user must be able to write it.",
	},
	[OPTION_MAX_VALUE] = {
		.name = "max_value",
		.type = BROOD_OPTION_SIZE,
		.fallback = "64K",
		.min = 1,
		.max = 16 * 1024 * 1024,
		.help = "The longest value.",
	},
	[OPTION_SYNC] = {
		.name = "sync",
		.type = BROOD_OPTION_BOOL,
		.fallback = "off",
		.help = "Whether a value is on the disk before it is answered for.",
	},
	{ .name = NULL },
};

struct kv {
	void (*log)(int priority, const char *text);
	int directory;
	bool sync;
	struct brood_framing requests;
	struct brood_framing answers;
	char draft[32]; /* the file that this worker writes before it renames it */
	size_t max_value;
	char *value; /* of a GET: "+", then up to max_value bytes and one more */
};

/* ---- the files: each returns 0, or a negative errno ---- */

static int write_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t done = write(fd, bytes, size);

		if (done < 0)
			return -errno;
		bytes += done;
		size -= (size_t)done;
	}
	return 0;
}

static int value_set(const struct kv *kv, const char *key, const char *value, size_t size)
{
	int fd = openat(kv->directory, kv->draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	int ret;

	if (fd < 0)
		return -errno;
	ret = write_all(fd, value, size);
	if (ret == 0 && kv->sync && fsync(fd) < 0)
		ret = -errno;
	close(fd);
	if (ret == 0 && renameat(kv->directory, kv->draft, kv->directory, key) < 0)
		ret = -errno;
	if (ret == 0 && kv->sync && fsync(kv->directory) < 0)
		ret = -errno;
	return ret;
}

/* Reads the value behind the "+" in kv->value. Returns its size. */
static ssize_t value_get(struct kv *kv, const char *key)
{
	int fd = openat(kv->directory, key, O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	/* One byte over the limit, to see a value from before the limit was lowered. */
	while ((got = read(fd, kv->value + 1 + size, kv->max_value + 1 - size)) > 0)
		size += (size_t)got;
	got = got < 0 ? -errno : (ssize_t)size;
	close(fd);
	return size > kv->max_value ? -EFBIG : got;
}

/* ---- requests ---- */

struct request {
	char verb[4];
	char key[KEY_MAX + 1];
	const char *value; /* of a SET; NULL: there is none */
	size_t value_size;
};

static bool key_valid(const char *text, size_t size)
{
	if (size == 0 || size > KEY_MAX || text[0] == '.')
		return false;
	for (size_t k = 0; k < size; k++)
		if (!isalnum((unsigned char)text[k]) && !memchr("-_.", text[k], 3))
			return false;
	return true;
}

/* Returns NULL, or the answer that says what is wrong. */
static const char *request_parse(const struct kv *kv, const char *text, size_t size, struct request *ret_request)
{
	const char *key = text + 4, *blank;
	size_t key_size;

	if (size < 4 || text[3] != ' ')
		return USAGE;
	memcpy(ret_request->verb, text, 3);
	ret_request->verb[3] = '\0';
	blank = memchr(key, ' ', size - 4);
	key_size = blank ? (size_t)(blank - key) : size - 4;
	if (!key_valid(key, key_size))
		return "-a key is 1 to 200 letters, digits, \"-\", \"_\" and \".\"";
	memcpy(ret_request->key, key, key_size);
	ret_request->key[key_size] = '\0';
	ret_request->value = blank ? blank + 1 : NULL;
	ret_request->value_size = blank ? size - 4 - key_size - 1 : 0;
	if (ret_request->value_size > kv->max_value)
		return "-the value is too long";
	return blank && strcmp(ret_request->verb, "SET") != 0 ? USAGE : NULL;
}

/* Does what is asked, and returns the answer, of *ret_size bytes. */
static const char *request_handle(struct kv *kv, const struct request *request, size_t *ret_size)
{
	const char *text = "+";
	char reason[300];
	ssize_t result;

	if (strcmp(request->verb, "GET") == 0) {
		result = value_get(kv, request->key);
		if (result >= 0) {
			*ret_size = 1 + (size_t)result;
			return kv->value;
		}
	} else if (strcmp(request->verb, "SET") == 0 && request->value) {
		result = value_set(kv, request->key, request->value, request->value_size);
	} else if (strcmp(request->verb, "DEL") == 0) {
		result = unlinkat(kv->directory, request->key, 0) < 0 ? -errno : 0;
	} else {
		result = -EINVAL;
	}
	if (result == -ENOENT) {
		text = "-not found";
	} else if (result == -EINVAL) {
		text = USAGE;
	} else if (result < 0) {
		snprintf(reason, sizeof(reason), "kv: %s %s: %s", request->verb, request->key, strerror((int)-result));
		kv->log(4, reason);
		text = "-the store has failed";
	}
	*ret_size = strlen(text);
	return text;
}

static int answer(struct kv *kv, struct brood_stream *stream, const char *text, size_t size)
{
	struct request request;
	const char *reply = request_parse(kv, text, size, &request);

	if (reply)
		size = strlen(reply);
	else
		reply = request_handle(kv, &request, &size);
	return brood_message_write(stream, &kv->answers, reply, size);
}

static int serve(void *data, struct brood_stream *stream)
{
	struct kv *kv = data;
	const char *request;
	size_t size;
	int ret;

	while ((ret = brood_await(stream)) > 0) {
		brood_request_begin(stream);
		ret = brood_message_read(stream, &kv->requests, &request, &size);
		if (ret == -EMSGSIZE) { /* its end cannot be found: say so, and end */
			brood_message_write(stream, &kv->answers, TOO_LONG, strlen(TOO_LONG));
			return ret;
		}
		if (ret < 0)
			return ret;
		ret = answer(kv, stream, request, size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

/* ---- the worker ---- */

static void stop(void *data)
{
	struct kv *kv = data;

	close(kv->directory);
	free(kv->value);
	free(kv);
}

static int start(const struct brood_start *start, void **ret_state)
{
	const char *directory = start->values[OPTION_DIRECTORY].text;
	struct kv *kv = calloc(1, sizeof(*kv));
	char text[300];
	int error = ENOMEM;

	if (!kv)
		return -ENOMEM;
	kv->log = start->log;
	kv->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kv->directory < 0 || faccessat(kv->directory, ".", W_OK | X_OK, AT_EACCESS) < 0)
		error = errno;
	else
		kv->value = malloc(2 + (size_t)start->values[OPTION_MAX_VALUE].number);
	if (!kv->value) {
		snprintf(text, sizeof(text), "kv: cannot use %s: %s", directory, strerror(error));
		start->log(3, text);
		stop(kv);
		return -error;
	}
	kv->value[0] = '+';
	kv->max_value = (size_t)start->values[OPTION_MAX_VALUE].number;
	kv->sync = start->values[OPTION_SYNC].on;
	kv->answers = (struct brood_framing){ .kind = BROOD_FRAMING_LENGTH, .size = 4, .limit = 100 + kv->max_value };
	kv->requests = kv->answers;
	kv->requests.limit = strlen("SET  ") + KEY_MAX + kv->max_value;
	snprintf(kv->draft, sizeof(kv->draft), ".draft-%d", (int)getpid());
	*ret_state = kv;
	return 0;
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "kv",
	.version = "1.0",
	.client_first = true,
	.options = options,
	.start = start,
	.serve = serve,
	.stop = stop,
};
