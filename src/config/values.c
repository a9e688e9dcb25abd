/* SPDX-License-Identifier: MIT */
#include "config/values.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	int64_t factor;
};

/* From the largest to the smallest, so that formatting finds the shortest text first. */
static const struct unit size_units[] = {
	{"G",   INT64_C(1) << 30},
	{ "M",  INT64_C(1) << 20},
	{ "K",  INT64_C(1) << 10},
	{ "",   1               },
	{ NULL, 0               },
};

static const struct unit duration_units[] = {
	{"d",   INT64_C(86400000)},
	{ "h",  3600000          },
	{ "m",  60000            },
	{ "s",  1000             },
	{ "ms", 1                },
	{ NULL, 0                },
};

static const struct unit plain_units[] = {
	{"",    1},
	{ NULL, 0},
};

static const char *const boolean_words[][2] = {
	{"off",    "on"  },
	{ "false", "true"},
	{ "no",    "yes" },
};

/* Those that programs take as a request to finish. */
static const struct {
	const char *name;
	int number;
} signals[] = {
	{"TERM",   SIGTERM },
	{ "INT",   SIGINT  },
	{ "QUIT",  SIGQUIT },
	{ "HUP",   SIGHUP  },
	{ "USR1",  SIGUSR1 },
	{ "USR2",  SIGUSR2 },
	{ "WINCH", SIGWINCH},
	{ "ALRM",  SIGALRM },
	{ "ABRT",  SIGABRT },
	{ "CONT",  SIGCONT },
	{ "PWR",   SIGPWR  },
};

static const char *const kind_names[] = {
	[VALUE_BOOL] = "boolean",
	[VALUE_NUMBER] = "number",
	[VALUE_SIZE] = "size",
	[VALUE_DURATION] = "duration",
	[VALUE_MODE] = "mode",
	[VALUE_SIGNAL] = "signal",
	[VALUE_CHOICE] = "choice",
	[VALUE_TEXT] = "text",
	[VALUE_LIST] = "list",
};
static_assert(ARRAY_SIZE(kind_names) == VALUE_KINDS, "a name for each kind");

const char *value_kind_name(enum value_kind kind)
{
	return kind_names[kind];
}

static const struct unit *kind_units(enum value_kind kind)
{
	switch (kind) {
	case VALUE_SIZE:
		return size_units;
	case VALUE_DURATION:
		return duration_units;
	default:
		return plain_units;
	}
}

/* For a number that is too large for us, and so out of every range. The numbers it is told from are not negative. */
#define OVERFLOW INT64_C(-1)

static int64_t multiply_add(int64_t number, int64_t factor, int64_t summand)
{
	if (number == OVERFLOW || __builtin_mul_overflow(number, factor, &number) ||
		__builtin_add_overflow(number, summand, &number))
		return OVERFLOW;
	return number;
}

/* The digits at the start of TEXT in BASE. Returns their count. */
static size_t digits_parse(const char *text, unsigned int base, int64_t *ret_number)
{
	int64_t number = 0;
	size_t count = 0;

	for (; text[count] >= '0' && text[count] < (char)('0' + base); count++)
		number = multiply_add(number, (int64_t)base, text[count] - '0');
	*ret_number = number;
	return count;
}

/* A number and its unit. Returns -ERANGE for one that is too large for us. */
static int quantity_parse(enum value_kind kind, const char *text, int64_t *ret_number)
{
	int64_t number;
	size_t count = digits_parse(text, 10, &number);

	if (count == 0)
		return -EINVAL;
	if (kind == VALUE_DURATION && number == 0 && text[count] == '\0') {
		*ret_number = 0;
		return 0;
	}
	for (const struct unit *unit = kind_units(kind); unit->name; unit++) {
		if (strcmp(text + count, unit->name) != 0)
			continue;
		*ret_number = multiply_add(number, unit->factor, 0);
		return *ret_number == OVERFLOW ? -ERANGE : 0;
	}
	return -EINVAL;
}

/* The same with a sign, where the least number has one. */
static int signed_parse(const struct value_rule *rule, const char *text, int64_t *ret_number)
{
	bool negative = rule->kind == VALUE_NUMBER && rule->min < 0 && text[0] == '-';
	int result = quantity_parse(rule->kind, text + negative, ret_number);

	if (result == 0 && negative)
		*ret_number = -*ret_number;
	return result;
}

static int mode_parse(const char *text, int64_t *ret_number)
{
	size_t count = digits_parse(text, 8, ret_number);

	return text[count] == '\0' && (count == 3 || count == 4) ? 0 : -EINVAL;
}

static int boolean_parse(const char *text, int64_t *ret_number)
{
	for (size_t i = 0; i < ARRAY_SIZE(boolean_words); i++) {
		for (int on = 0; on < 2; on++) {
			if (strcmp(text, boolean_words[i][on]) == 0) {
				*ret_number = on;
				return 0;
			}
		}
	}
	return -EINVAL;
}

static int signal_parse(const char *text, int64_t *ret_number)
{
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		if (strcmp(text, signals[i].name) == 0) {
			*ret_number = signals[i].number;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *signal_format(int64_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		if (signals[i].number == number)
			return signals[i].name;
	}
	return "";
}

static int choice_parse(const struct value_rule *rule, const char *text, int64_t *ret_number)
{
	for (int64_t i = 0; rule->choices[i]; i++) {
		if (strcmp(text, rule->choices[i]) == 0) {
			*ret_number = rule->min + i;
			return 0;
		}
	}
	return -EINVAL;
}

static bool is_unlimited(const struct value_rule *rule, const char *text)
{
	return rule->may_be_unlimited && strcmp(text, "unlimited") == 0;
}

static int kind_parse(const struct value_rule *rule, const char *text, int64_t *ret_number)
{
	switch (rule->kind) {
	case VALUE_BOOL:
		return boolean_parse(text, ret_number);
	case VALUE_SIGNAL:
		return signal_parse(text, ret_number);
	case VALUE_CHOICE:
		return choice_parse(rule, text, ret_number);
	case VALUE_MODE:
		return mode_parse(text, ret_number);
	case VALUE_TEXT:
	case VALUE_LIST:
		*ret_number = (int64_t)strlen(text);
		return 0;
	default:
		if (rule->zero_is_off && strcmp(text, "off") == 0) {
			*ret_number = 0;
			return 0;
		}
		if (is_unlimited(rule, text)) {
			*ret_number = VALUE_UNLIMITED;
			return 0;
		}
		return signed_parse(rule, text, ret_number);
	}
}

/* " (1 to 1024)" */
static void reason_range(const struct value_rule *rule, char *reason)
{
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
	size_t used = strlen(reason);

	value_format(rule, rule->min, min);
	value_format(rule, rule->max, max);
	if (rule->may_be_unlimited)
		snprintf(reason + used, VALUE_REASON_MAX - used, " (%s to %s, or unlimited)", min, max);
	else if (rule->max == INT64_MAX)
		snprintf(reason + used, VALUE_REASON_MAX - used, " (%s or more)", min);
	else
		snprintf(reason + used, VALUE_REASON_MAX - used, " (%s to %s)", min, max);
}

static void reason_choices(const struct value_rule *rule, char *reason)
{
	size_t used = (size_t)snprintf(reason, VALUE_REASON_MAX, "is none of");

	for (size_t i = 0; rule->choices[i] && used < VALUE_REASON_MAX; i++)
		used += (size_t)snprintf(
			reason + used, VALUE_REASON_MAX - used, "%s %s", i ? "," : "", rule->choices[i]);
}

static void reason_signals(char *reason)
{
	size_t used = (size_t)snprintf(reason, VALUE_REASON_MAX, "is none of");

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		used += (size_t)snprintf(
			reason + used, VALUE_REASON_MAX - used, "%s %s", i ? "," : "", signals[i].name);
}

/* Why TEXT is not a value of this kind at all. */
static void reason_syntax(const struct value_rule *rule, char *reason)
{
	switch (rule->kind) {
	case VALUE_BOOL:
		snprintf(reason, VALUE_REASON_MAX, "is none of true, false, on, off, yes, no");
		return;
	case VALUE_CHOICE:
		reason_choices(rule, reason);
		return;
	case VALUE_SIGNAL:
		reason_signals(reason);
		return;
	case VALUE_MODE:
		snprintf(reason, VALUE_REASON_MAX, "is not a file mode: three or four octal digits, such as 0660");
		return;
	case VALUE_SIZE:
		snprintf(reason, VALUE_REASON_MAX, "is not a size: digits and K, M, G or nothing, such as 64K");
		break;
	case VALUE_DURATION:
		snprintf(reason, VALUE_REASON_MAX, "is not a duration: digits and ms, s, m, h or d, such as 30s");
		break;
	default:
		snprintf(reason, VALUE_REASON_MAX, "is not a decimal number");
		break;
	}
	reason_range(rule, reason);
}

static void reason_out_of_range(const struct value_rule *rule, int64_t number, char *reason)
{
	if (rule->kind == VALUE_TEXT || rule->kind == VALUE_LIST)
		snprintf(reason, VALUE_REASON_MAX, "is too %s", number < rule->min ? "short" : "long");
	else
		snprintf(reason, VALUE_REASON_MAX, "is out of range");
	reason_range(rule, reason);
	if (rule->kind == VALUE_TEXT || rule->kind == VALUE_LIST)
		snprintf(strrchr(reason, ')'), 16, " bytes)");
}

static bool has_range(const struct value_rule *rule, const char *text)
{
	if (is_unlimited(rule, text))
		return false;
	return rule->kind != VALUE_BOOL && rule->kind != VALUE_CHOICE && rule->kind != VALUE_SIGNAL;
}

int value_parse(const struct value_rule *rule, const char *text, int64_t *ret_number, char *reason)
{
	char step[VALUE_TEXT_MAX];
	int64_t number;
	int result = kind_parse(rule, text, &number);

	if (result == -EINVAL) {
		reason_syntax(rule, reason);
		return -EINVAL;
	}
	if (result == -ERANGE || (has_range(rule, text) && (number < rule->min || number > rule->max))) {
		reason_out_of_range(rule, number, reason);
		return -EINVAL;
	}
	if (rule->step > 1 && !is_unlimited(rule, text) && number % rule->step != 0) {
		snprintf(reason, VALUE_REASON_MAX, "is not a multiple of %s", value_format(rule, rule->step, step));
		return -EINVAL;
	}
	*ret_number = number;
	return 0;
}

char *value_format(const struct value_rule *rule, int64_t number, char *buffer)
{
	const struct unit *unit = kind_units(rule->kind);

	if (rule->kind == VALUE_BOOL) {
		snprintf(buffer, VALUE_TEXT_MAX, "%s", number ? "on" : "off");
	} else if (rule->kind == VALUE_SIGNAL) {
		snprintf(buffer, VALUE_TEXT_MAX, "%s", signal_format(number));
	} else if (rule->may_be_unlimited && number == VALUE_UNLIMITED) {
		snprintf(buffer, VALUE_TEXT_MAX, "unlimited");
	} else if (rule->kind == VALUE_CHOICE) {
		snprintf(buffer, VALUE_TEXT_MAX, "%s", rule->choices[number - rule->min]);
	} else if (rule->kind == VALUE_MODE) {
		snprintf(buffer, VALUE_TEXT_MAX, "%04" PRIo64, number);
	} else if (number == 0) {
		snprintf(buffer, VALUE_TEXT_MAX, "%s", rule->zero_is_off ? "off" : "0");
	} else {
		while (number % unit->factor != 0)
			unit++;
		snprintf(buffer, VALUE_TEXT_MAX, "%" PRId64 "%s", number / unit->factor, unit->name);
	}
	return buffer;
}
