/* SPDX-License-Identifier: MIT */
/*
 * floor: the least a pre-forking server can do, as the measure for brood. N children block in accept() on one socket; a
 * child reads once, writes 128 bytes and closes. There is no configuration, no log, no supervision but a parent that
 * forks again whoever has died. The kernel does nearly all of the work, which is the point.
 *
 * With -1 it answers an HTTP request with a fixed answer and closes; with -k it goes on to the next request on the
 * connection. With -l a child answers message after message, each with its length in four bytes in front, until the
 * client ends. With -o it gives its socket the options that brood gives its listeners, which accepted sockets inherit.
 *
 * With -M a child leaves after so many connections, and the parent forks another. With -H a request takes so many
 * milliseconds: the first byte of the answer is sent when it begins, the others when it ends. With -g the parent forks
 * so many children more, all at once, when the first connection has been accepted: what growing costs at the least.
 *
 * With -x a program serves each connection on its descriptors 0 and 1. Children that wait become it, and the parent
 * forks others for them; with -n 0 the parent accepts, and forks a child for each connection. It counts nothing and
 * limits nothing: programs that have ended are waited for when the next connection comes. With -c the programs have
 * another user, resource limits and a root directory.
 *
 * Readiness: the child that comes up last sends READY=1 to $NOTIFY_SOCKET, or prints "ready" where there is none.
 */
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_SIZE 128
#define HEAD_MAX     4096
#define PREFIX_SIZE  4
#define LENGTH_MAX   65536

enum work {
	WORK_MESSAGE, /* read, write, close */
	WORK_HTTP_CLOSE,
	WORK_HTTP_KEEP,
	WORK_LENGTH, /* messages with their length in front */
	WORK_HOLD,   /* as WORK_MESSAGE, but it takes its time */
};

/* What programs are given with -c. */
struct confinement {
	uid_t uid;
	gid_t gid;
	rlim_t files;
	rlim_t file_size;
	const char *root; /* NULL: none of all this */
};

struct settings {
	int port;
	const char *path;    /* of a unix socket, instead */
	const char *program; /* with -x */
	struct confinement confinement;
	int children;
	int more;        /* children that are forked at the first connection */
	int connections; /* after which a child leaves; 0: never */
	int hold_ms;     /* with WORK_HOLD */
	int backlog;
	int defer_s;    /* TCP_DEFER_ACCEPT; 0: off */
	bool nodelay;   /* TCP_NODELAY */
	int receive_ms; /* SO_RCVTIMEO; 0: none */
	int send_ms;    /* SO_SNDTIMEO; 0: none */
	enum work work;
};

static char http_answer[512];
static size_t http_answer_size;
/* Of all children. */
static struct shared {
	atomic_int children_up;
	atomic_bool wants_more; /* with -g: the first connection has been accepted */
} * shared;
/* An eventfd: with -x it counts children that are no longer waiting, with -g it tells of the first connection. */
static int taken = -1;

static void die(const char *what)
{
	perror(what);
	exit(71);
}

static void report_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = path ? strlen(path) : 0;
	int fd;

	if (!length || length >= sizeof(address.sun_path)) {
		printf("ready\n");
		fflush(stdout);
		return;
	}
	memcpy(address.sun_path, path, length);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		die("NOTIFY_SOCKET");
	close(fd);
}

static void set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		die(name);
}

static void set_timeout(int fd, int option, int timeout_ms, const char *name)
{
	struct timeval time = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };

	if (timeout_ms && setsockopt(fd, SOL_SOCKET, option, &time, sizeof(time)))
		die(name);
}

static int open_tcp(const struct settings *settings)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)settings->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (settings->nodelay)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	if (settings->defer_s)
		set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, settings->defer_s, "TCP_DEFER_ACCEPT");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	return fd;
}

static int open_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	return fd;
}

static int open_listener(const struct settings *settings)
{
	int fd = settings->path ? open_unix(settings->path) : open_tcp(settings);

	set_timeout(fd, SO_RCVTIMEO, settings->receive_ms, "SO_RCVTIMEO");
	set_timeout(fd, SO_SNDTIMEO, settings->send_ms, "SO_SNDTIMEO");
	if (listen(fd, settings->backlog))
		die("listen");
	return fd;
}

static void print_port(int listener)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	if (getsockname(listener, (struct sockaddr *)&address, &size))
		die("getsockname");
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
}

static void serve_message(int fd)
{
	char buffer[512];

	if (read(fd, buffer, sizeof(buffer)) > 0 && write(fd, buffer, MESSAGE_SIZE) < 0)
		return;
}

static void serve_hold(int fd, int hold_ms)
{
	char buffer[512];

	if (read(fd, buffer, sizeof(buffer)) <= 0 || write(fd, buffer, 1) < 0)
		return;
	usleep((useconds_t)hold_ms * 1000);
	if (write(fd, buffer + 1, MESSAGE_SIZE - 1) < 0)
		return;
}

/* Reads until a head ends (the clients of the benchmark do not pipeline). Returns false at the end of the stream. */
static bool read_head(int fd)
{
	char head[HEAD_MAX];
	size_t size = 0;

	for (;;) {
		ssize_t count = read(fd, head + size, sizeof(head) - size);

		if (count <= 0)
			return false;
		size += (size_t)count;
		if (size >= 4 && !memcmp(head + size - 4, "\r\n\r\n", 4))
			return true;
		if (size == sizeof(head))
			return false;
	}
}

static void serve_http(int fd, bool keep)
{
	do {
		if (!read_head(fd) || write(fd, http_answer, http_answer_size) < 0)
			return;
	} while (keep);
}

/* One whole message after the other: the bare loop does not cope with parts of messages, and need not here. */
static void serve_length(int fd)
{
	char message[LENGTH_MAX];

	for (;;) {
		ssize_t count = read(fd, message, sizeof(message));
		uint32_t length;

		if (count < PREFIX_SIZE)
			return;
		memcpy(&length, message, PREFIX_SIZE);
		if (ntohl(length) != (uint32_t)count - PREFIX_SIZE || write(fd, message, (size_t)count) != count)
			return;
	}
}

static void limit(int resource, rlim_t value)
{
	struct rlimit limit = { .rlim_cur = value, .rlim_max = value };

	if (setrlimit(resource, &limit))
		die("setrlimit");
}

static void confine(const struct confinement *confinement)
{
	if (!confinement->root)
		return;
	if (chroot(confinement->root) || chdir("/"))
		die("chroot");
	limit(RLIMIT_NOFILE, confinement->files);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, confinement->file_size);
	if (setgroups(0, NULL) || setresgid(confinement->gid, confinement->gid, confinement->gid) ||
		setresuid(confinement->uid, confinement->uid, confinement->uid))
		die("setresuid");
}

static _Noreturn void become(const char *program, int fd)
{
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	execl(program, program, (char *)NULL);
	_exit(127);
}

/* One connection, for which it becomes the program. The parent has learnt that the child does not wait any more. */
static _Noreturn void live_once(int listener, const struct settings *settings)
{
	int fd;

	confine(&settings->confinement);
	do
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0);
	if (eventfd_write(taken, 1) < 0)
		_exit(1);
	become(settings->program, fd);
}

static void serve(int fd, const struct settings *settings)
{
	switch (settings->work) {
	case WORK_MESSAGE:
		serve_message(fd);
		break;
	case WORK_HTTP_CLOSE:
	case WORK_HTTP_KEEP:
		serve_http(fd, settings->work == WORK_HTTP_KEEP);
		break;
	case WORK_LENGTH:
		serve_length(fd);
		break;
	case WORK_HOLD:
		serve_hold(fd, settings->hold_ms);
		break;
	}
}

/* The first child that has a connection asks for more children, once. */
static void ask_for_more(void)
{
	if (!atomic_load(&shared->wants_more) && !atomic_exchange(&shared->wants_more, true) && eventfd_write(taken, 1))
		_exit(1);
}

static _Noreturn void live(int listener, const struct settings *settings)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (atomic_fetch_add(&shared->children_up, 1) + 1 == settings->children)
		report_ready();
	if (settings->program)
		live_once(listener, settings);
	for (int left = settings->connections; settings->connections == 0 || left > 0;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue; /* EAGAIN after SO_RCVTIMEO */
		if (settings->more)
			ask_for_more();
		serve(fd, settings);
		close(fd);
		left--;
	}
	_exit(0);
}

static void start_child(int listener, const struct settings *settings)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		live(listener, settings);
}

static void make_http_answer(bool keep)
{
	char body[MESSAGE_SIZE + 1];
	int size;

	memset(body, 'x', MESSAGE_SIZE);
	body[MESSAGE_SIZE - 1] = '\n';
	body[MESSAGE_SIZE] = '\0';
	size = snprintf(http_answer, sizeof(http_answer),
		"HTTP/1.1 200 OK\r\nServer: floor\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s",
		MESSAGE_SIZE, keep ? "" : "Connection: close\r\n", body);
	http_answer_size = (size_t)size;
}

static int number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0 || value > 100000000) {
		fprintf(stderr, "floor: \"%s\" is not a number that makes sense\n", text);
		exit(64);
	}
	return (int)value;
}

static void parse_confinement(const char *text, struct confinement *ret_confinement)
{
	unsigned int uid, gid, files, file_size;
	int end = 0;

	if (sscanf(text, "%u:%u:%u:%u:%n", &uid, &gid, &files, &file_size, &end) != 4 || end == 0) {
		fprintf(stderr, "floor: \"%s\" is not UID:GID:FILES:FILE_SIZE:ROOT\n", text);
		exit(64);
	}
	*ret_confinement = (struct confinement){
		.uid = uid, .gid = gid, .files = files, .file_size = file_size, .root = text + end
	};
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: floor [-p PORT] [-n CHILDREN] [-b BACKLOG] [-d DEFER_ACCEPT_SECONDS]\n"
			"             [-o] [-r RECEIVE_TIMEOUT_MS] [-s SEND_TIMEOUT_MS] [-u SOCKET]\n"
			"             [-M CONNECTIONS] [-g MORE_CHILDREN] [-1 | -k | -l | -H MS | -x PROGRAM]\n"
			"  -o  TCP_NODELAY   -1  one HTTP answer, then close   -k  HTTP keep-alive\n"
			"  -l  messages with a length of four bytes in front   -x  connections go to a program\n"
			"  -c  for the program: its user, limits and root directory\n"
			"  -u  a unix socket instead of a port\n"
			"  -M  after so many a child leaves         -H  a request takes so long\n"
			"  -g  the parent forks so many more at the first connection\n");
	exit(64);
}

static struct settings parse(int argc, char **argv)
{
	struct settings settings = { .children = 8, .backlog = 511 };
	int option;

	while ((option = getopt(argc, argv, "p:u:n:b:d:or:s:M:g:1klH:x:c:")) != -1) {
		switch (option) {
		case 'p':
			settings.port = number(optarg);
			break;
		case 'u':
			settings.path = optarg;
			break;
		case 'n':
			settings.children = number(optarg);
			break;
		case 'b':
			settings.backlog = number(optarg);
			break;
		case 'd':
			settings.defer_s = number(optarg);
			break;
		case 'o':
			settings.nodelay = true;
			break;
		case 'r':
			settings.receive_ms = number(optarg);
			break;
		case 's':
			settings.send_ms = number(optarg);
			break;
		case 'M':
			settings.connections = number(optarg);
			break;
		case 'g':
			settings.more = number(optarg);
			break;
		case 'H':
			settings.work = WORK_HOLD;
			settings.hold_ms = number(optarg);
			break;
		case '1':
			settings.work = WORK_HTTP_CLOSE;
			break;
		case 'k':
			settings.work = WORK_HTTP_KEEP;
			break;
		case 'l':
			settings.work = WORK_LENGTH;
			break;
		case 'x':
			settings.program = optarg;
			break;
		case 'c':
			parse_confinement(optarg, &settings.confinement);
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
	return settings;
}

static void wait_for_ended(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* The parent accepts and forks for each connection. */
static _Noreturn void run_forking(int listener, const struct settings *settings)
{
	report_ready();
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pid_t pid;

		if (fd < 0)
			continue;
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			confine(&settings->confinement);
			become(settings->program, fd);
		}
		close(fd);
		wait_for_ended();
	}
}

/* Another child for each one that has taken a connection. */
static _Noreturn void run_becoming(int listener, const struct settings *settings)
{
	for (;;) {
		eventfd_t count = 0;

		eventfd_read(taken, &count);
		for (; count > 0; count--)
			start_child(listener, settings);
		wait_for_ended();
	}
}

static _Noreturn void run_serving(int listener, const struct settings *settings)
{
	eventfd_t wanted;

	if (settings->more && !eventfd_read(taken, &wanted))
		for (int i = 0; i < settings->more; i++)
			start_child(listener, settings);
	for (;;) {
		if (wait(NULL) > 0)
			start_child(listener, settings);
		else if (errno != EINTR)
			exit(0);
	}
}

int main(int argc, char **argv)
{
	struct settings settings = parse(argc, argv);
	int listener = open_listener(&settings);

	if (!settings.program) /* programs have the signals at their defaults */
		signal(SIGPIPE, SIG_IGN);
	make_http_answer(settings.work == WORK_HTTP_KEEP);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	taken = eventfd(0, EFD_CLOEXEC);
	if (shared == MAP_FAILED || taken < 0)
		die("start");
	if (!settings.path)
		print_port(listener);
	for (int i = 0; i < settings.children; i++)
		start_child(listener, &settings);
	if (settings.program && settings.children)
		run_becoming(listener, &settings);
	else if (settings.program)
		run_forking(listener, &settings);
	else
		run_serving(listener, &settings);
}
