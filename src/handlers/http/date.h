/* SPDX-License-Identifier: MIT */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H
/*
 * Dates of HTTP (RFC 9110 5.6.7), without the C library's locale or time zone. No system call: the clock is read
 * through the vDSO.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "handlers/http/text.h"

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define DATE_SIZE 29

/* Writes the DATE_SIZE characters of TIME (years 0 to 9999; others are cut to these), without a terminator. */
void date_format(time_t time, char *buffer);

/* Reads any of the three forms, IMF-fixdate, RFC 850's and asctime()'s; the two-digit year of the second is the one
 * not more than fifty years after NOW. False: it is none of them. */
bool date_parse(struct span text, time_t now, time_t *ret_time);

/* The time now, and its text, which is made anew only when the second has changed. */
struct date_now {
	time_t time;
	long nanoseconds;
	char text[DATE_SIZE];
};

void date_now_update(struct date_now *now);

#endif
