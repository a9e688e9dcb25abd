/* SPDX-License-Identifier: MIT */
#include "handlers/http/date.h"

#include <string.h>

#include "base/attrs.h"

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char *const long_day_names[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
	"Saturday" };

#define SECONDS_A_DAY 86400
#define YEAR_0000     INT64_C(-62167219200)
#define YEAR_9999_END INT64_C(253402300799)

/* The days from 1970-01-01 to a day of the Gregorian calendar, and back; MONTH is 1 to 12. Years are counted from
 * March, so that the leap day is the last of them, in eras of 400 years of 146097 days. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
	int64_t march_year = month <= 2 ? year - 1 : year;
	int64_t era = (march_year >= 0 ? march_year : march_year - 399) / 400;
	int64_t year_of_era = march_year - era * 400;
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_from_days(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
	int64_t shifted = days + 719468;
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t day_of_era = shifted - era * 146097;
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t month_from_march = (5 * day_of_year + 2) / 153;

	*ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
	*ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	*ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

static void put_two(char *at, int64_t number)
{
	at[0] = (char)('0' + number / 10);
	at[1] = (char)('0' + number % 10);
}

void date_format(time_t time, char *buffer)
{
	int64_t seconds = time < YEAR_0000 ? YEAR_0000 : time > YEAR_9999_END ? YEAR_9999_END : time;
	int64_t days = seconds / SECONDS_A_DAY - (seconds % SECONDS_A_DAY < 0);
	int64_t rest = seconds - days * SECONDS_A_DAY;
	int64_t week_day = ((days % 7) + 11) % 7; /* 1970-01-01 was a Thursday */
	int64_t year, month, day;

	date_from_days(days, &year, &month, &day);
	memcpy(buffer, "xxx, 00 xxx 0000 00:00:00 GMT", DATE_SIZE);
	memcpy(buffer, day_names + 3 * week_day, 3);
	put_two(buffer + 5, day);
	memcpy(buffer + 8, month_names + 3 * (month - 1), 3);
	put_two(buffer + 12, year / 100);
	put_two(buffer + 14, year % 100);
	put_two(buffer + 17, rest / 3600);
	put_two(buffer + 20, rest / 60 % 60);
	put_two(buffer + 23, rest % 60);
}

/* The fields of a date, as they are found. */
struct date_fields {
	int64_t year, month, day, hour, minute, second;
};

static bool get_digits(const char *at, size_t count, int64_t *ret_number)
{
	uint64_t number;

	if (!span_to_number((struct span){ at, count }, &number))
		return false;
	*ret_number = (int64_t)number;
	return true;
}

static bool get_month(const char *at, int64_t *ret_month)
{
	for (int64_t month = 0; month < 12; month++) {
		if (memcmp(at, month_names + 3 * month, 3) == 0) {
			*ret_month = month + 1;
			return true;
		}
	}
	return false;
}

static bool is_day_name(const char *at)
{
	for (size_t i = 0; i < 7; i++)
		if (memcmp(at, day_names + 3 * i, 3) == 0)
			return true;
	return false;
}

/* TEXT has the characters of SHAPE, in which '.' stands for any. */
static bool has_shape(struct span text, const char *shape)
{
	if (text.size != strlen(shape))
		return false;
	for (size_t i = 0; i < text.size; i++)
		if (shape[i] != '.' && shape[i] != text.text[i])
			return false;
	return true;
}

static bool get_time(const char *at, struct date_fields *fields)
{
	return get_digits(at, 2, &fields->hour) && get_digits(at + 3, 2, &fields->minute) &&
	       get_digits(at + 6, 2, &fields->second);
}

static bool parse_fixdate(struct span text, struct date_fields *fields)
{
	return has_shape(text, "..., .. ... .... ..:..:.. GMT") && is_day_name(text.text) &&
	       get_digits(text.text + 5, 2, &fields->day) && get_month(text.text + 8, &fields->month) &&
	       get_digits(text.text + 12, 4, &fields->year) && get_time(text.text + 17, fields);
}

static bool parse_asctime(struct span text, struct date_fields *fields)
{
	bool short_day;

	if (!has_shape(text, "... ... .. ..:..:.. ....") || !is_day_name(text.text))
		return false;
	short_day = text.text[8] == ' ';
	return get_month(text.text + 4, &fields->month) &&
	       get_digits(text.text + 8 + short_day, 2 - (size_t)short_day, &fields->day) &&
	       get_time(text.text + 11, fields) && get_digits(text.text + 20, 4, &fields->year);
}

static bool parse_rfc850(struct span text, time_t now, struct date_fields *fields)
{
	int64_t now_year, month, day;
	bool named = false;

	for (size_t i = 0; i < ARRAY_SIZE(long_day_names) && !named; i++) {
		size_t size = strlen(long_day_names[i]);

		named = text.size > size && memcmp(text.text, long_day_names[i], size) == 0;
		if (named)
			text = (struct span){ text.text + size, text.size - size };
	}
	if (!named || !has_shape(text, ", ..-...-.. ..:..:.. GMT"))
		return false;
	if (!get_digits(text.text + 2, 2, &fields->day) || !get_month(text.text + 5, &fields->month) ||
		!get_digits(text.text + 9, 2, &fields->year) || !get_time(text.text + 12, fields))
		return false;
	date_from_days(now / SECONDS_A_DAY, &now_year, &month, &day);
	fields->year += now_year / 100 * 100;
	if (fields->year > now_year + 50)
		fields->year -= 100;
	return true;
}

static bool fields_hold(const struct date_fields *fields)
{
	static const unsigned char days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	/* 60 is a leap second. */
	return fields->day >= 1 && fields->day <= days[fields->month - 1] && fields->hour <= 23 &&
	       fields->minute <= 59 && fields->second <= 60;
}

bool date_parse(struct span text, time_t now, time_t *ret_time)
{
	struct date_fields fields = { 0 };

	if (!parse_fixdate(text, &fields) && !parse_rfc850(text, now, &fields) && !parse_asctime(text, &fields))
		return false;
	if (!fields_hold(&fields))
		return false;
	*ret_time = days_from_date(fields.year, fields.month, fields.day) * SECONDS_A_DAY + fields.hour * 3600 +
		    fields.minute * 60 + fields.second;
	return true;
}

void date_now_update(struct date_now *now)
{
	struct timespec clock;

	clock_gettime(CLOCK_REALTIME_COARSE, &clock);
	now->nanoseconds = clock.tv_nsec;
	if (clock.tv_sec == now->time)
		return;
	now->time = clock.tv_sec;
	date_format(now->time, now->text);
}
