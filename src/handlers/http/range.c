/* SPDX-License-Identifier: MIT */
#include "handlers/http/range.h"

#include <string.h>

/* "-N": the last N bytes. */
static enum range_result suffix_range(struct span digits, uint64_t size, uint64_t *ret_first, uint64_t *ret_last)
{
	uint64_t count;

	if (!span_to_number(digits, &count))
		return RANGE_WHOLE;
	if (count == 0 || size == 0)
		return RANGE_UNSATISFIABLE;
	*ret_first = count < size ? size - count : 0;
	*ret_last = size - 1;
	return RANGE_PART;
}

enum range_result range_parse(struct span value, uint64_t size, uint64_t *ret_first, uint64_t *ret_last)
{
	static const char unit[] = "bytes=";
	const size_t unit_size = sizeof(unit) - 1;
	struct span range, from, to;
	uint64_t first, last = UINT64_MAX;
	const char *dash;

	if (value.text == NULL || value.size <= unit_size ||
		!span_is_nocase((struct span){ value.text, unit_size }, unit))
		return RANGE_WHOLE;
	range = span_trim((struct span){ value.text + unit_size, value.size - unit_size });
	/* What has a comma in it is several ranges, which no digits are. */
	dash = memchr(range.text, '-', range.size);
	if (dash == NULL)
		return RANGE_WHOLE;
	from = (struct span){ range.text, (size_t)(dash - range.text) };
	to = (struct span){ dash + 1, range.size - from.size - 1 };
	if (from.size == 0)
		return suffix_range(to, size, ret_first, ret_last);
	if (!span_to_number(from, &first) || (to.size > 0 && !span_to_number(to, &last)) || first > last)
		return RANGE_WHOLE;
	if (first >= size)
		return RANGE_UNSATISFIABLE;
	*ret_first = first;
	*ret_last = last < size ? last : size - 1;
	return RANGE_PART;
}
