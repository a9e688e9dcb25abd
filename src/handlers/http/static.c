/* SPDX-License-Identifier: MIT */
/*
 * GET and HEAD for files and directories. A file is opened anew for each request, so that what is served is what the
 * path names now.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "handlers/http/conditional.h"
#include "handlers/http/exchange.h"
#include "handlers/http/file.h"
#include "handlers/http/listing.h"
#include "handlers/http/range.h"
#include "handlers/http/response.h"

/* ---- finding ---- */

static int open_path(struct http *http, const char *path, struct file *ret_file)
{
	if (recent_find(&http->recent, http->root_fd, path, http->now.time, ret_file))
		return 0;
	return file_open(http->root_fd, path, ret_file);
}

/* Opens the first index file that there is in the directory of the target, and makes the target its path. Returns 0, a
 * status, or 404 where there is none. */
static int open_index(struct exchange *exchange, struct file *ret_file)
{
	struct target *target = &exchange->http->target;
	size_t directory_size = target->path_size;
	size_t start = directory_size > 0 ? directory_size + 1 : 0;

	for (const char *const *name = exchange->http->index; *name != NULL; name++) {
		size_t size = strlen(*name);
		int ret;

		if (start + size >= sizeof(target->path))
			continue;
		if (start > 0)
			target->path[start - 1] = '/';
		memcpy(target->path + start, *name, size + 1);
		ret = open_path(exchange->http, target->path, ret_file);
		if (ret == 0 && ret_file->kind == FILE_REGULAR) {
			target->path_size = start + size;
			return 0;
		}
		if (ret == 0)
			fd_close(&ret_file->fd);
		else if (file_status(ret) != 404)
			return file_status(ret);
	}
	target->path[directory_size] = '\0';
	return 404;
}

static int open_directory(struct exchange *exchange, struct file *ret_file)
{
	struct http *http = exchange->http;
	int status = open_index(exchange, ret_file);
	int ret;

	if (status != 404)
		return status;
	ret = open_path(http, http->target.path, ret_file);
	if (ret < 0)
		return file_status(ret);
	if (ret_file->kind == FILE_DIRECTORY && http->listing)
		return 0;
	status = ret_file->kind == FILE_DIRECTORY ? 403 : 404;
	fd_close(&ret_file->fd);
	return status;
}

/* Opens what the target names: a regular file or, with the listing on, a directory. Returns 0 or a status. */
static int open_target(struct exchange *exchange, struct file *ret_file)
{
	struct http *http = exchange->http;
	int ret;

	if (http->target.directory)
		return open_directory(exchange, ret_file);
	ret = open_path(http, http->target.path, ret_file);
	if (ret < 0)
		return file_status(ret);
	if (ret_file->kind == FILE_REGULAR)
		return 0;
	ret = ret_file->kind == FILE_DIRECTORY ? 301 : 403;
	fd_close(&ret_file->fd);
	return ret;
}

/* ---- sending ---- */

static int send_not_modified(struct exchange *exchange, const struct validators *validators)
{
	exchange_begin(exchange, 304);
	response_validators(&exchange->http->out, validators, &exchange->http->now);
	return exchange_send(exchange, "", 0);
}

/* Puts COUNT bytes behind the head. False: the file has become shorter since, or cannot be read. */
static bool append_content(struct buffer *out, const struct file *file, uint64_t first, size_t count)
{
	size_t done = 0;

	if (file->content != NULL) {
		buffer_bytes(out, file->content + first, count);
		return true;
	}
	while (done < count) {
		ssize_t got = pread(file->fd, out->data + out->size + done, count - done, (off_t)(first + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	out->size += count;
	return true;
}

static void keep_content(struct http *http, const struct file *file, const char *content)
{
	const struct timespec now = { http->now.time, http->now.nanoseconds };

	recent_keep(&http->recent, http->target.path, file, content, &now);
}

/* Sends the head in http->out and COUNT bytes of the file. Once the head is on its way there is no going back: a file
 * that ends too early ends the connection. */
static int send_content(struct exchange *exchange, const struct file *file, uint64_t first, uint64_t count)
{
	struct http *http = exchange->http;
	struct buffer *out = &http->out;
	int ret;

	if (exchange->request.method == REQUEST_HEAD)
		return exchange_write(exchange);
	exchange->body_size = count;
	if (count <= HTTP_SMALL_FILE && count <= out->capacity - out->size) {
		if (!append_content(out, file, first, (size_t)count))
			return exchange_send_page(exchange, 500);
		if (file->content == NULL && count == file->state.size)
			keep_content(http, file, out->data + out->size - count);
		return exchange_write(exchange);
	}
	ret = brood_write_more(exchange->stream, out->data, out->size);
	return ret < 0 ? ret : brood_send_file(exchange->stream, file->fd, (off_t)first, count);
}

static int send_file(struct exchange *exchange, const struct file *file, const struct validators *validators)
{
	struct http *http = exchange->http;
	struct span type = mime_type(&http->mime, target_extension(http->target.path, http->target.path_size));
	enum range_result range = RANGE_WHOLE;
	uint64_t first = 0, last = 0, count = file->state.size;

	/* RFC 9110 14.2: a Range field means nothing to other methods. */
	if (exchange->request.method == REQUEST_GET &&
		conditional_allows_range(&exchange->request, validators, http->now.time))
		range = range_parse(exchange->request.fields[REQUEST_RANGE], file->state.size, &first, &last);
	if (range == RANGE_UNSATISFIABLE) {
		exchange->file_size = file->state.size;
		return exchange_send_page(exchange, 416);
	}
	exchange_begin(exchange, range == RANGE_PART ? 206 : 200);
	if (range == RANGE_PART) {
		count = last - first + 1;
		response_range(&http->out, first, last, file->state.size);
	}
	response_content(&http->out, type, http->charset, count);
	response_validators(&http->out, validators, &http->now);
	response_field(&http->out, "Accept-Ranges", "bytes");
	if (!exchange_end_head(exchange))
		return exchange_send_page(exchange, 500);
	return send_content(exchange, file, first, count);
}

static int answer_file(struct exchange *exchange, const struct file *file)
{
	struct validators validators;
	int status;

	validators_init(&validators, &file->state.modified, file->state.size);
	status = conditional_evaluate(&exchange->request, &validators, exchange->http->now.time);
	if (status == 304)
		return send_not_modified(exchange, &validators);
	if (status != 0)
		return exchange_send_page(exchange, status);
	return send_file(exchange, file, &validators);
}

static int answer_listing(struct exchange *exchange, const struct file *directory)
{
	static const struct span html = { "text/html", 9 };
	struct target *target = &exchange->http->target;
	struct buffer page = { .grows = true };
	int ret = listing_page(directory->fd, (struct span){ target->path, target->path_size }, &page);

	if (ret < 0) {
		ret = exchange_send_page(exchange, file_status(ret));
	} else {
		exchange_begin(exchange, 200);
		response_content(&exchange->http->out, html, "utf-8", page.size);
		ret = exchange_send(exchange, page.data, page.size);
	}
	buffer_done(&page);
	return ret;
}

int static_answer(struct exchange *exchange)
{
	struct file file = { .fd = -1 };
	int status, ret;

	date_now_update(&exchange->http->now);
	status = open_target(exchange, &file);
	if (status != 0)
		return exchange_send_page(exchange, status);
	if (file.kind == FILE_DIRECTORY)
		ret = answer_listing(exchange, &file);
	else
		ret = answer_file(exchange, &file);
	fd_close(&file.fd);
	return ret;
}
