/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>

#include "config/schema.h"
#include "config/values.h"

static const char *const colours[] = { "red", "green", NULL };

static const struct value_rule any_number = { .kind = VALUE_NUMBER, .max = INT64_MAX };
static const struct value_rule any_size = { .kind = VALUE_SIZE, .max = INT64_MAX };
static const struct value_rule any_duration = { .kind = VALUE_DURATION, .max = INT64_MAX };
static const struct value_rule any_mode = { .kind = VALUE_MODE, .max = 0777 };
static const struct value_rule boolean = { .kind = VALUE_BOOL, .max = 1 };
static const struct value_rule colour = { .kind = VALUE_CHOICE, .min = 3, .choices = colours };

static void check_value(const struct value_rule *rule, const char *text, int64_t expected, const char *formatted)
{
	char reason[VALUE_REASON_MAX] = "", buffer[VALUE_TEXT_MAX];
	int64_t number = -7, again = -8;

	cr_expect_eq(value_parse(rule, text, &number, reason), 0, "%s: %s", text, reason);
	cr_expect_eq(number, expected, "%s: %" PRId64, text, number);
	cr_expect_str_eq(value_format(rule, number, buffer), formatted, "%s", text);
	cr_expect_eq(value_parse(rule, buffer, &again, reason), 0);
	cr_expect_eq(again, number);
}

static void check_refused(const struct value_rule *rule, const char *text)
{
	char reason[VALUE_REASON_MAX] = "";
	int64_t number = -7;

	cr_expect_eq(value_parse(rule, text, &number, reason), -EINVAL, "\"%s\" is %" PRId64, text, number);
	cr_expect_eq(number, -7, "the result is untouched");
	cr_expect(reason[0] != '\0');
}

Test(config_values, numbers_are_decimal)
{
	check_value(&any_number, "0", 0, "0");
	check_value(&any_number, "010", 10, "10");
	check_value(&any_number, "0000000000000000000000000000012", 12, "12");
	check_value(&any_number, "9223372036854775807", INT64_MAX, "9223372036854775807");
	check_refused(&any_number, "9223372036854775808");
	check_refused(&any_number, "18446744073709551617");
	check_refused(&any_number, "99999999999999999999999999999999999999");
	check_refused(&any_number, "");
	check_refused(&any_number, "0x10");
	check_refused(&any_number, "1 ");
	check_refused(&any_number, " 1");
	check_refused(&any_number, "+1");
	check_refused(&any_number, "-1");
	check_refused(&any_number, "1.0");
	check_refused(&any_number, "1K");
	check_refused(&any_number, "off");
}

Test(config_values, sizes)
{
	check_value(&any_size, "0", 0, "0");
	check_value(&any_size, "1023", 1023, "1023");
	check_value(&any_size, "1024", 1024, "1K");
	check_value(&any_size, "064K", 65536, "64K");
	check_value(&any_size, "16M", 16 << 20, "16M");
	check_value(&any_size, "1G", 1 << 30, "1G");
	check_value(&any_size, "8589934591G", INT64_C(8589934591) << 30, "8589934591G");
	check_refused(&any_size, "8589934592G");
	check_refused(&any_size, "1k");
	check_refused(&any_size, "1KB");
	check_refused(&any_size, "1T");
	check_refused(&any_size, "K");
	check_refused(&any_size, "1 K");
}

Test(config_values, durations)
{
	check_value(&any_duration, "500ms", 500, "500ms");
	check_value(&any_duration, "30s", 30000, "30s");
	check_value(&any_duration, "5m", 300000, "5m");
	check_value(&any_duration, "2h", 7200000, "2h");
	check_value(&any_duration, "1d", 86400000, "1d");
	check_value(&any_duration, "90s", 90000, "90s");
	check_value(&any_duration, "60000ms", 60000, "1m");
	check_value(&any_duration, "0", 0, "0");
	check_value(&any_duration, "0s", 0, "0");
	check_refused(&any_duration, "30");
	check_refused(&any_duration, "1.5s");
	check_refused(&any_duration, "1m30s");
	check_refused(&any_duration, "1S");
	check_refused(&any_duration, "1 s");
	check_refused(&any_duration, "106751991168d");
}

Test(config_values, off_is_zero_where_it_may)
{
	struct value_rule rule = { .kind = VALUE_DURATION, .max = 60000, .zero_is_off = true };

	check_value(&rule, "off", 0, "off");
	check_value(&rule, "0", 0, "off");
	check_value(&rule, "1m", 60000, "1m");
	check_refused(&rule, "on");
	rule.step = 1000;
	check_value(&rule, "2000ms", 2000, "2s");
	check_refused(&rule, "2001ms");
}

Test(config_values, ranges_hold_at_both_ends)
{
	const struct value_rule rule = { .kind = VALUE_NUMBER, .min = 1, .max = 1024 };
	char reason[VALUE_REASON_MAX];
	int64_t number;

	check_value(&rule, "1", 1, "1");
	check_value(&rule, "1024", 1024, "1024");
	check_refused(&rule, "0");
	check_refused(&rule, "1025");
	cr_assert_eq(value_parse(&rule, "4096", &number, reason), -EINVAL);
	cr_expect_str_eq(reason, "is out of range (1 to 1024)");
}

Test(config_values, modes_are_octal)
{
	check_value(&any_mode, "0660", 0660, "0660");
	check_value(&any_mode, "660", 0660, "0660");
	check_value(&any_mode, "000", 0, "0000");
	check_refused(&any_mode, "0680");
	check_refused(&any_mode, "1777");
	check_refused(&any_mode, "66");
	check_refused(&any_mode, "00660");
	check_refused(&any_mode, "rw-rw----");
}

/* Of modules: no key of ours is. */
Test(config_values, numbers_below_zero)
{
	const struct value_rule rule = { .kind = VALUE_NUMBER, .min = -10, .max = 100 };

	check_value(&rule, "-10", -10, "-10");
	check_value(&rule, "-0", 0, "0");
	check_value(&rule, "100", 100, "100");
	check_refused(&rule, "-11");
	check_refused(&rule, "-");
	check_refused(&rule, "--1");
	check_refused(&rule, "99999999999999999999");
	check_refused(&rule, "-99999999999999999999");
	check_refused(&any_number, "-1");
}

Test(config_values, signals_by_name)
{
	const struct value_rule rule = { .kind = VALUE_SIGNAL, .max = INT64_MAX };

	check_value(&rule, "TERM", SIGTERM, "TERM");
	check_value(&rule, "SIGTERM", SIGTERM, "TERM");
	check_value(&rule, "USR2", SIGUSR2, "USR2");
	check_value(&rule, "WINCH", SIGWINCH, "WINCH");
	check_refused(&rule, "");
	check_refused(&rule, "SIG");
	check_refused(&rule, "SIGSIGTERM");
	check_refused(&rule, "term");
	check_refused(&rule, "15");
	check_refused(&rule, "KILL");
	check_refused(&rule, "STOP");
}

Test(config_values, unlimited_where_it_may)
{
	const struct value_rule rule = { .kind = VALUE_SIZE, .max = 1 << 20, .may_be_unlimited = true };

	check_value(&rule, "unlimited", VALUE_UNLIMITED, "unlimited");
	check_value(&rule, "1M", 1 << 20, "1M");
	check_refused(&rule, "2M");
	check_refused(&rule, "9223372036854775807");
	check_refused(&any_size, "unlimited");
}

Test(config_values, booleans)
{
	check_value(&boolean, "true", 1, "on");
	check_value(&boolean, "on", 1, "on");
	check_value(&boolean, "yes", 1, "on");
	check_value(&boolean, "false", 0, "off");
	check_value(&boolean, "off", 0, "off");
	check_value(&boolean, "no", 0, "off");
	check_refused(&boolean, "1");
	check_refused(&boolean, "ON");
	check_refused(&boolean, "");
}

Test(config_values, choices_count_from_the_least)
{
	check_value(&colour, "red", 3, "red");
	check_value(&colour, "green", 4, "green");
	check_refused(&colour, "gree");
	check_refused(&colour, "");
}

Test(config_values, every_default_of_the_schema_is_a_value_as_dump_writes_it)
{
	char reason[VALUE_REASON_MAX], buffer[VALUE_TEXT_MAX];

	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];
		int64_t number;

		cr_expect(key->help && key->help[0] != '\0', "%s", key->name);
		if (!key->fallback || key->inherits || key->rule.kind == VALUE_LIST)
			continue;
		cr_expect_eq(value_parse(&key->rule, key->fallback, &number, reason), 0, "%s: %s", key->name, reason);
		if (key->rule.kind != VALUE_TEXT)
			cr_expect_str_eq(value_format(&key->rule, number, buffer), key->fallback, "%s", key->name);
	}
}
