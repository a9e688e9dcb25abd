/* SPDX-License-Identifier: MIT */
#ifndef BASE_RAW_H
#define BASE_RAW_H
/*
 * System calls that return their negative errno and leave errno(3) alone: for processes that share their memory, and so
 * their errno, with others of their kind (worker/waiter.h). Only those calls whose error decides something there.
 *
 * On other machines than these RAW_IS_PRIVATE says that errno is used after all, and no memory may be shared.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)

#define RAW_IS_PRIVATE 0

static inline long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	/* syscall(2), "Architecture calling conventions" */
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

#define RAW_IS_PRIVATE 0

static inline long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

#else

#define RAW_IS_PRIVATE 1

static inline long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = syscall(number, a, b, c, d, e, f);

	return result < 0 ? -errno : result;
}

#endif

static inline int raw_accept4(int fd, struct sockaddr *peer, socklen_t *peer_size, int flags)
{
	return (int)raw_call(SYS_accept4, fd, (long)peer, (long)peer_size, flags, 0, 0);
}

static inline int raw_epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
#ifdef SYS_epoll_wait
	return (int)raw_call(SYS_epoll_wait, fd, (long)events, most, timeout_ms, 0, 0);
#else
	return (int)raw_call(SYS_epoll_pwait, fd, (long)events, most, timeout_ms, 0, 0);
#endif
}

static inline int raw_execve(const char *path, char *const *argv, char *const *envp)
{
	return (int)raw_call(SYS_execve, (long)path, (long)argv, (long)envp, 0, 0, 0);
}

#endif
