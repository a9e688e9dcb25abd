/* SPDX-License-Identifier: MIT */
#include "handlers/http/conditional.h"

#include <string.h>

#include "handlers/http/date.h"

void validators_init(struct validators *validators, const struct timespec *modified, uint64_t size)
{
	struct buffer etag = { .capacity = sizeof(validators->etag) };

	*validators = (struct validators){ .modified = modified->tv_sec };
	etag.data = validators->etag;
	buffer_text(&etag, "\"");
	buffer_hex(&etag, (uint64_t)modified->tv_sec * 1000000000u + (uint64_t)modified->tv_nsec);
	buffer_text(&etag, "-");
	buffer_hex(&etag, size);
	buffer_text(&etag, "\"");
	validators->etag_size = etag.size;
}

/* Cuts the next entity-tag off LIST: [ W/ ] " etagc* ". A tag may have commas in it, so that a list of them is not cut
 * at commas. False: the list has come to its end, or is broken from here on. */
static bool next_tag(struct span *list, bool *ret_weak, struct span *ret_tag)
{
	const char *end;

	while (list->size > 0 && (list->text[0] == ',' || list->text[0] == ' ' || list->text[0] == '\t')) {
		list->text++;
		list->size--;
	}
	*ret_weak = list->size >= 2 && memcmp(list->text, "W/", 2) == 0;
	if (*ret_weak) {
		list->text += 2;
		list->size -= 2;
	}
	if (list->size < 2 || list->text[0] != '"')
		return false;
	end = memchr(list->text + 1, '"', list->size - 1);
	if (end == NULL)
		return false;
	*ret_tag = (struct span){ list->text, (size_t)(end - list->text) + 1 };
	*list = (struct span){ end + 1, list->size - ret_tag->size };
	return true;
}

static bool is_tag(struct span tag, const struct validators *validators)
{
	return tag.size == validators->etag_size && memcmp(tag.text, validators->etag, tag.size) == 0;
}

/* Whether LIST has the file's tag in it, or is "*". The file's tag is strong, so that the strong comparison asks only
 * that the list's is not weak (RFC 9110 8.8.3.2). */
static bool list_matches(struct span list, const struct validators *validators, bool strong)
{
	struct span tag;
	bool weak;

	if (list.size == 1 && list.text[0] == '*')
		return true;
	while (next_tag(&list, &weak, &tag))
		if (is_tag(tag, validators) && !(strong && weak))
			return true;
	return false;
}

/* A date that cannot be read counts as no date (RFC 9110 13.1.3, 13.1.4). */
static bool has_date(const struct request *request, enum request_field field, time_t now, time_t *ret_date)
{
	return request->fields[field].text != NULL && date_parse(request->fields[field], now, ret_date);
}

int conditional_evaluate(const struct request *request, const struct validators *validators, time_t now)
{
	const struct span *fields = request->fields;
	time_t date;

	if (fields[REQUEST_IF_MATCH].text != NULL) {
		if (!list_matches(fields[REQUEST_IF_MATCH], validators, true))
			return 412;
	} else if (has_date(request, REQUEST_IF_UNMODIFIED_SINCE, now, &date) && validators->modified > date) {
		return 412;
	}
	if (fields[REQUEST_IF_NONE_MATCH].text != NULL)
		return list_matches(fields[REQUEST_IF_NONE_MATCH], validators, false) ? 304 : 0;
	if (has_date(request, REQUEST_IF_MODIFIED_SINCE, now, &date) && validators->modified <= date)
		return 304;
	return 0;
}

bool conditional_allows_range(const struct request *request, const struct validators *validators, time_t now)
{
	struct span value = request->fields[REQUEST_IF_RANGE];
	time_t date;

	if (value.text == NULL)
		return true;
	if (value.size > 0 && value.text[0] == '"')
		return is_tag(value, validators);
	return has_date(request, REQUEST_IF_RANGE, now, &date) && validators->modified == date;
}
