/* SPDX-License-Identifier: MIT */
#include "libbrood/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "libbrood/wait.h"

/* getaddrinfo_a(3) is in the C library itself since glibc 2.34; before, in a library of its own. */
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
#define HAVE_GETADDRINFO_A 1
#endif
#endif

static const struct addrinfo hints_numeric = {
	.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
};
static const struct addrinfo hints_any = {
	.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV
};

/* The negative errno of what getaddrinfo(3) returned; errno is still what it left. */
static int errno_of(int error)
{
	switch (error) {
	case 0:
		return 0;
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
	case EAI_ADDRFAMILY:
#endif
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno > 0 ? -errno : -EIO;
	default:
		return -EIO;
	}
}

#ifdef HAVE_GETADDRINFO_A

/* A question that another thread asks. It must stay in memory for as long as that takes. */
struct question {
	struct gaicb request;
	struct addrinfo hints;
	char host[NI_MAXHOST];
	char port[8];
};

/* Waits for the answer until END_US. Returns its EAI_ value, EAI_INPROGRESS if there is none yet. */
static int question_wait(struct question *question, uint64_t end_us)
{
	const struct gaicb *const list[] = { &question->request };

	for (;;) {
		uint64_t now_us = wait_clock_us();
		uint64_t left_us = now_us < end_us ? end_us - now_us : 0;
		struct timespec left = { .tv_sec = (time_t)(left_us / 1000000),
			.tv_nsec = (long)(left_us % 1000000) * 1000 };

		if (left_us == 0 || gai_error(&question->request) != EAI_INPROGRESS)
			return gai_error(&question->request);
		gai_suspend(list, 1, &left);
	}
}

static int ask_within(const char *host, const char *port, uint64_t end_us, struct addrinfo **ret_list)
{
	struct question *question = calloc(1, sizeof(*question));
	struct gaicb *list[] = { question ? &question->request : NULL };
	int error;

	if (!question)
		return -ENOMEM;
	strcpy(question->host, host);
	strcpy(question->port, port);
	question->hints = hints_any;
	question->request.ar_name = question->host;
	question->request.ar_service = question->port;
	question->request.ar_request = &question->hints;
	error = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
	if (error == 0) {
		error = question_wait(question, end_us);
		/* A thread that is asking cannot be stopped: the question is left to it, and so to the process's end.
		 */
		if (error == EAI_INPROGRESS && gai_cancel(&question->request) == EAI_NOTCANCELED)
			return -ETIMEDOUT;
	}
	if (error == 0)
		*ret_list = question->request.ar_result;
	error = error == EAI_INPROGRESS ? -ETIMEDOUT : errno_of(error);
	free(question);
	return error;
}

#endif

static int ask(const char *host, const char *port, uint64_t end_us, struct addrinfo **ret_list)
{
#ifdef HAVE_GETADDRINFO_A
	if (end_us != WAIT_FOR_EVER)
		return ask_within(host, port, end_us, ret_list);
#endif
	return errno_of(getaddrinfo(host, port, &hints_any, ret_list));
}

int resolve_host(const char *host, const char *port, uint64_t end_us, struct addrinfo **ret_list)
{
	int error = getaddrinfo(host, port, &hints_numeric, ret_list);

	return error == EAI_NONAME ? ask(host, port, end_us, ret_list) : errno_of(error);
}
