/* SPDX-License-Identifier: MIT */
#ifndef BASE_ATTRS_H
#define BASE_ATTRS_H
/*
 * The compiler's attributes, wrapped once. gcc 12 and clang 14 know all of them.
 */

/* The argument FORMAT_NUMBER is checked like printf's; FIRST is the first variable argument's number. */
#define ATTR_PRINTF(format_number, first) __attribute__((format(printf, format_number, first)))

/* The result must be looked at. */
#define ATTR_NODISCARD __attribute__((warn_unused_result))

/* Never returns: ends by _exit() or execve(). */
#define ATTR_NORETURN __attribute__((noreturn))

/* Has a frame of its own, which its caller does not pay for. */
#define ATTR_NOINLINE __attribute__((noinline))

/* May stay unused in some builds. */

/* Kept, with what is stored in it, though nothing reads it. */
#define ATTR_USED __attribute__((used))

/* Calls FUNCTION with the variable's address when the variable leaves its scope. */
#define ATTR_CLEANUP(function) __attribute__((cleanup(function)))

/* A switch that falls through on purpose. */
#define ATTR_FALLTHROUGH __attribute__((fallthrough))

/* Hints for the way of one connection. */
#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
