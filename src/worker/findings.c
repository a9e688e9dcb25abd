/* SPDX-License-Identifier: MIT */
#include "worker/findings.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

/* More is not believed, and not read: modules are then described anew. */
#define FINDINGS_MAX (64U * 1024 * 1024)

enum finding_kind {
	FINDING_MODULE, /* the pool's name, 0, the module's path, 0, the description */
	FINDING_CONFIG, /* as --dump prints it */
};

/* Goes before each finding. */
struct finding_header {
	uint32_t kind;
	uint32_t size;
};

int findings_open(void)
{
	int fd = memfd_create("brood-findings", MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * The load under way: probes are called without an argument of the caller's, and there is one load at a time in a
 * process.
 */
static struct {
	const struct config_probe *probe; /* the real one */
	int fd;
	bool failed; /* something could not be written */
	char *data;
	size_t size;
} current;

/* ---- the first load ---- */

static void write_piece(const void *data, size_t size)
{
	if (!current.failed && fd_write_all(current.fd, data, size) < 0)
		current.failed = true;
}

static void write_header(enum finding_kind kind, size_t size)
{
	const struct finding_header header = { .kind = kind, .size = (uint32_t)size };

	if (size > UINT32_MAX)
		current.failed = true;
	write_piece(&header, sizeof(header));
}

static void note_module(const struct pool_config *pool, const struct brood_module *description)
{
	size_t name_size = strlen(pool->name) + 1, path_size = strlen(pool->module) + 1, size;
	char *data;

	if (!current.probe->description_encode || current.probe->description_encode(description, &data, &size) < 0)
		return;
	write_header(FINDING_MODULE, name_size + path_size + size);
	write_piece(pool->name, name_size);
	write_piece(pool->module, path_size);
	write_piece(data, size);
	free(data);
}

static int describe_and_note(
	const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	int result = current.probe->module_describe(pool, ret_description, reason, size);

	if (result == 0)
		note_module(pool, *ret_description);
	return result;
}

/* To be freed; NULL where memory is short. */
static char *dump(const struct config *config, size_t *ret_size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_size);

	if (!out)
		return NULL;
	config_dump(config, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static int note_config(const struct config *config)
{
	size_t size;
	char *text = dump(config, &size);

	if (!text)
		return -ENOMEM;
	write_header(FINDING_CONFIG, size);
	write_piece(text, size);
	free(text);
	return current.failed ? -EIO : 0;
}

int findings_load_first(const struct config_origin *origin, int fd, FILE *errors, struct config **ret_config)
{
	struct config_probe probe = origin->host->probe ? *origin->host->probe : (struct config_probe){ 0 };
	const struct config_host host = { .handlers = origin->host->handlers, .probe = &probe };
	int result;

	current.probe = origin->host->probe;
	current.fd = fd;
	current.failed = false;
	if (probe.module_describe)
		probe.module_describe = describe_and_note;
	result = config_load(origin->file, &host, origin->overrides, errors, ret_config);
	if (result < 0)
		return result;
	result = note_config(*ret_config);
	if (result < 0)
		config_free(*ret_config);
	return result;
}

/* ---- the second one ---- */

/* Reads up to ROOM bytes from the beginning of FD: its writer has left the offset at the end. */
static ssize_t read_file(int fd, char *data, size_t room)
{
	size_t done = 0;

	while (done < room) {
		ssize_t got = pread(fd, data + done, room - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* Nothing was found where there is too much of it. */
static int read_findings(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	ssize_t size;
	char *data;

	current.data = NULL;
	current.size = 0;
	if (end < 0)
		return -errno;
	if (end > FINDINGS_MAX)
		return 0;
	data = malloc((size_t)end + 1);
	if (!data)
		return -ENOMEM;
	size = read_file(fd, data, (size_t)end);
	if (size < 0) {
		free(data);
		return (int)size;
	}
	current.data = data;
	current.size = (size_t)size;
	return 0;
}

static void free_findings(void)
{
	free(current.data);
	current.data = NULL;
	current.size = 0;
}

/* The next finding of that kind from *PLACE on, and its size; NULL: there is none. */
static const char *next_finding(enum finding_kind kind, size_t *place, size_t *ret_size)
{
	while (current.size - *place >= sizeof(struct finding_header)) {
		struct finding_header header;
		const char *data = current.data + *place + sizeof(header);

		memcpy(&header, current.data + *place, sizeof(header));
		*place += sizeof(header);
		if (header.size > current.size - *place)
			return NULL;
		*place += header.size;
		*ret_size = header.size;
		if (header.kind == kind)
			return data;
	}
	return NULL;
}

/* Takes TEXT and its 0 off the beginning. Returns whether it is there. */
static bool skip_text(const char **data, size_t *size, const char *text)
{
	size_t skipped = strlen(text) + 1;

	if (*size < skipped || memcmp(*data, text, skipped) != 0)
		return false;
	*data += skipped;
	*size -= skipped;
	return true;
}

/* What the module of that pool has said. */
static const char *find_module(const struct pool_config *pool, size_t *ret_size)
{
	const char *data;
	size_t place = 0;

	while ((data = next_finding(FINDING_MODULE, &place, ret_size)) != NULL)
		if (skip_text(&data, ret_size, pool->name) && skip_text(&data, ret_size, pool->module))
			return data;
	return NULL;
}

static int describe_by_findings(
	const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	size_t found_size = 0;
	const char *found = find_module(pool, &found_size);
	char *copy;

	if (!found || !current.probe->description_decode)
		return current.probe->module_describe(pool, ret_description, reason, size);
	copy = malloc(found_size + 1);
	if (!copy) {
		snprintf(reason, size, "cannot be described: no memory");
		return -ENOMEM;
	}
	memcpy(copy, found, found_size);
	copy[found_size] = '\0';
	return current.probe->description_decode(copy, found_size, ret_description, reason, size);
}

/* Whether the result is what was checked. */
static int compare_config(const struct config *config)
{
	size_t place = 0, checked_size = 0, size;
	const char *checked = next_finding(FINDING_CONFIG, &place, &checked_size);
	char *text = dump(config, &size);
	bool same = text && checked && size == checked_size && memcmp(text, checked, size) == 0;

	free(text);
	if (!text)
		return -ENOMEM;
	return same ? 0 : -EINVAL;
}

int findings_load_again(const struct config_origin *origin, int fd, FILE *errors, struct config **ret_config)
{
	/* Whether programs can be executed, and what modules say to their options, was asked in the first load. */
	const struct config_probe probe = {
		.module_describe =
			origin->host->probe && origin->host->probe->module_describe ? describe_by_findings : NULL,
		.description_free = origin->host->probe ? origin->host->probe->description_free : NULL,
	};
	const struct config_host host = { .handlers = origin->host->handlers, .probe = &probe };
	struct config *config = NULL;
	int result;

	current.probe = origin->host->probe;
	result = read_findings(fd);
	if (result < 0) {
		fprintf(errors, "%s: what its check has found cannot be read: %s\n", origin->file, strerror(-result));
		return result;
	}
	result = config_load(origin->file, &host, origin->overrides, errors, &config);
	if (result == 0)
		result = compare_config(config);
	free_findings();
	if (result < 0 && config) {
		if (result == -EINVAL)
			fprintf(errors, "%s: has changed while it was checked\n", origin->file);
		config_free(config);
	}
	if (result == 0)
		*ret_config = config;
	return result;
}
