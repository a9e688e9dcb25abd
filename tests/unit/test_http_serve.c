/* SPDX-License-Identifier: MIT */
/*
 * The http handler as a whole, over loopback connections: what a client says in, what it hears out.
 */
#include "tests/unit/stream_pair.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/attrs.h"
#include "base/fd.h"
#include "handlers/handlers.h"

/* ---- a root directory, a handler, a client ---- */

struct settings {
	const char *root;
	const char *const *index;
	bool listing;
	const char *charset;
	const char *mime_types;
	int64_t access_log;
	int64_t keepalive_requests;
	int64_t head_limit;
	int64_t target_limit;
	int64_t field_limit;
	int64_t body_limit;
};

static const char *const default_index[] = { "index.html", NULL };
static char root[64];
static struct settings settings;
static char log_text[512];
static char access_text[8192];

static void keep_log(int priority, const char *text)
{
	snprintf(log_text, sizeof(log_text), "%d %s", priority, text);
}

static void keep_access(unsigned int handle, const char *line, size_t size)
{
	size_t length = strlen(access_text);

	snprintf(access_text + length, sizeof(access_text) - length, "%u %.*s\n", handle, (int)size, line);
}

static void put_file(const char *name, const void *bytes, size_t size)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "we");
	cr_assert_not_null(file, "%s", path);
	cr_assert_eq(fwrite(bytes, 1, size, file), size);
	fclose(file);
}

static void put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text));
}

static void put_directory(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	cr_assert_eq(mkdir(path, 0755), 0);
}

static void put_link(const char *name, const char *to)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	cr_assert_eq(symlink(to, path), 0);
}

static void set_modified(const char *name, time_t when)
{
	struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
#define OLD_TIME 784111777
#define OLD_DATE "Sun, 06 Nov 1994 08:49:37 GMT"

static void set_up(void)
{
	strcpy(root, "/tmp/brood-test-http-XXXXXX");
	cr_assert_not_null(mkdtemp(root));
	settings = (struct settings){
		.root = root,
		.index = default_index,
		.charset = "utf-8",
		.mime_types = "/etc/mime.types",
		.keepalive_requests = 1000,
		.head_limit = 16384,
		.target_limit = 8192,
		.field_limit = 100,
		.body_limit = 65536,
	};
	put_text("a.txt", "hello, world\n");
	set_modified("a.txt", OLD_TIME);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	return remove(path);
}

static void tear_down(void)
{
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(http_serve, .init = set_up, .fini = tear_down);

static int http_new(void **ret_state)
{
	/* In the order of the options. */
	static union brood_value values[11];
	static struct brood_start start = {
		.pool = "test", .values = values, .log = keep_log, .access_log = keep_access
	};

	values[0].text = settings.root;
	values[1].list = settings.index;
	values[2].on = settings.listing;
	values[3].text = settings.charset;
	values[4].text = settings.mime_types;
	values[5].number = settings.access_log;
	values[6].number = settings.keepalive_requests;
	values[7].number = settings.head_limit;
	values[8].number = settings.target_limit;
	values[9].number = settings.field_limit;
	values[10].number = settings.body_limit;
	return handler_http.start(&start, ret_state);
}

/* Serves one connection, and closes it. */
static int serve(struct stream_pair *pair)
{
	void *state;
	int ret;

	cr_assert_eq(http_new(&state), 0, "%s", log_text);
	ret = handler_http.serve(state, &pair->stream);
	handler_http.stop(state);
	brood_close(&pair->stream);
	return ret;
}

static char heard[1 << 20];
static int result; /* of serve() */

static void *serve_in_thread(void *argument)
{
	result = serve(argument);
	return NULL;
}

/* A client says all of SAID and half-closes. What it hears, to the end, is in `heard`. */
static const char *ask_bytes(const char *said, size_t size)
{
	struct stream_pair pair;
	ssize_t got;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, said, size);
	shutdown(pair.peer, SHUT_WR);
	result = serve(&pair);
	got = peer_receive_all(pair.peer, heard, sizeof(heard) - 1);
	cr_assert_geq(got, 0, "the answer to %s ended in a reset", said);
	heard[got] = '\0';
	pair_done(&pair);
	return heard;
}

static const char *ask(const char *said)
{
	return ask_bytes(said, strlen(said));
}

/* Asks for TARGET by METHOD, with more FIELDS. */
static const char *ask_for(const char *method, const char *target, const char *fields)
{
	static char said[32768];

	snprintf(said, sizeof(said), "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target, fields);
	return ask(said);
}

static const char *get(const char *target)
{
	return ask_for("GET", target, "");
}

static int status_of(const char *answer)
{
	int status = 0;

	return sscanf(answer, "HTTP/1.1 %d ", &status) == 1 ? status : -1;
}

/* The value of a field of the first head in ANSWER, or NULL. */
static const char *field_of(const char *answer, const char *name)
{
	static char value[8192];
	char pattern[64];
	const char *end = strstr(answer, "\r\n\r\n");
	const char *at;

	snprintf(pattern, sizeof(pattern), "\r\n%s: ", name);
	at = strstr(answer, pattern);
	if (at == NULL || end == NULL || at > end)
		return NULL;
	at += strlen(pattern);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

static const char *body_of(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	cr_assert_not_null(end, "no head in: %s", answer);
	return end + 4;
}

#define expect_status(answer, expected)                                                                                \
	do {                                                                                                           \
		const char *text_ = (answer);                                                                          \
		cr_expect_eq(status_of(text_), (expected), "%d, not %d: %s", status_of(text_), (expected), text_);     \
	} while (0)

#define expect_field(answer, name, value)                                                                              \
	do {                                                                                                           \
		const char *field_ = field_of((answer), (name));                                                       \
		cr_assert_not_null(field_, "no %s in: %s", (name), (answer));                                          \
		cr_expect_str_eq(field_, (value));                                                                     \
	} while (0)

/* The answers in TEXT, which have bodies by their Content-Length, as statuses: "200 404 ". */
static const char *statuses(const char *text)
{
	static char list[256];

	list[0] = '\0';
	while (*text != '\0') {
		const char *length = field_of(text, "Content-Length");
		size_t size = length != NULL ? strtoul(length, NULL, 10) : 0;

		sprintf(list + strlen(list), "%d ", status_of(text));
		cr_assert_leq(size, strlen(body_of(text)), "cut: %s", text);
		text = body_of(text) + size;
	}
	return list;
}

#define expect_statuses(said, list)                                                                                    \
	do {                                                                                                           \
		const char *got_ = statuses(ask(said));                                                                \
		cr_expect_str_eq(got_, (list), "%s, not %s: %s", got_, (list), (said));                                \
	} while (0)

/* ---- the plain case ---- */

Test(http_serve, a_file)
{
	const char *answer = get("/a.txt");

	expect_status(answer, 200);
	expect_field(answer, "Content-Length", "13");
	expect_field(answer, "Content-Type", "text/plain; charset=utf-8");
	expect_field(answer, "Last-Modified", OLD_DATE);
	expect_field(answer, "Accept-Ranges", "bytes");
	expect_field(answer, "Server", "brood");
	cr_expect_not_null(field_of(answer, "Date"));
	cr_expect_not_null(field_of(answer, "ETag"));
	cr_expect_null(field_of(answer, "Connection"));
	cr_expect_str_eq(body_of(answer), "hello, world\n");
	cr_expect_eq(result, 0);
}

Test(http_serve, head_has_the_fields_of_get_and_no_body)
{
	char got[1024];
	const char *answer;

	snprintf(got, sizeof(got), "%.*s", (int)(strstr(get("/a.txt"), "hello") - heard), heard);
	/* The clock may have moved on. */
	memset(strstr(got, "\r\nDate: ") + 8, 'x', 29);
	answer = ask_for("HEAD", "/a.txt", "");
	memset(strstr(heard, "\r\nDate: ") + 8, 'x', 29);
	cr_expect_str_eq(answer, got);
	answer = ask_for("HEAD", "/missing", "");
	expect_status(answer, 404);
	cr_expect_str_eq(body_of(answer), "");
	cr_expect_str_neq(field_of(answer, "Content-Length"), "0");
}

Test(http_serve, options)
{
	static const char *const targets[] = { "*", "/a.txt", "/missing", "http://a", "http://a/" };

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		const char *answer = ask_for("OPTIONS", targets[i], "");

		expect_status(answer, 200);
		expect_field(answer, "Allow", "GET, HEAD, OPTIONS");
		expect_field(answer, "Content-Length", "0");
	}
	/* HAProxy's httpchk */
	expect_status(ask("OPTIONS / HTTP/1.0\r\n\r\n"), 200);
	expect_status(ask_for("GET", "*", ""), 400);
}

Test(http_serve, other_methods)
{
	const char *answer = ask_for("POST", "/a.txt", "");

	expect_status(answer, 405);
	expect_field(answer, "Allow", "GET, HEAD, OPTIONS");
	cr_expect_null(field_of(answer, "Connection"));
	answer = ask_for("BREW", "/a.txt", "");
	expect_status(answer, 501);
	expect_field(answer, "Connection", "close");
	expect_status(ask_for("DELETE", "/a.txt", ""), 405);
	expect_status(ask_for("TRACE", "/a.txt", ""), 405);
	answer = ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_status(answer, 405);
	expect_field(answer, "Connection", "close");
	cr_expect_str_eq(statuses(answer), "405 ");
}

/* ---- connections ---- */

#define A     "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
#define A_END "GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Test(http_serve, pipelined_requests_are_answered_in_order)
{
	expect_statuses(A "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n" A "POST / HTTP/1.1\r\nHost: a\r\n\r\n" A,
		"200 404 200 405 200 ");
	expect_statuses(A "\r\n" A, "200 200 ");
	cr_expect_eq(result, 0);
}

Test(http_serve, close_is_answered_and_done)
{
	expect_statuses(A_END A, "200 ");
	expect_field(heard, "Connection", "close");
}

Test(http_serve, http_1_0)
{
	const char *answer = ask("GET /a.txt HTTP/1.0\r\n\r\n" A);

	cr_expect_str_eq(statuses(answer), "200 ");
	expect_field(answer, "Connection", "close");
	answer = ask("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a.txt HTTP/1.0\r\n\r\n" A);
	cr_expect_str_eq(statuses(answer), "200 200 ");
	expect_field(answer, "Connection", "keep-alive");
}

Test(http_serve, the_number_of_requests_on_a_connection_is_bounded)
{
	settings.keepalive_requests = 2;
	expect_statuses(A A A, "200 200 ");
	cr_expect_null(field_of(heard, "Connection"));
	expect_field(body_of(heard) + 13, "Connection", "close");
	settings.keepalive_requests = 1;
	expect_statuses(A A, "200 ");
	settings.keepalive_requests = 0;
	expect_statuses(A A A, "200 200 200 ");
}

static bool always(void)
{
	return true;
}

Test(http_serve, a_retiring_worker_says_close)
{
	static const struct brood_stream_host host = { .retiring = always };
	struct stream_pair pair;
	ssize_t got;

	pair_tcp(&pair, &far_timeouts);
	pair.stream.host = &host;
	peer_send(&pair, A A, strlen(A A));
	cr_assert_eq(serve(&pair), 0);
	got = peer_receive_all(pair.peer, heard, sizeof(heard) - 1);
	cr_assert_geq(got, 0);
	heard[got] = '\0';
	cr_expect_str_eq(statuses(heard), "200 ");
	expect_field(heard, "Connection", "close");
	pair_done(&pair);
}

static unsigned int begun, ended;

static void count_begin(struct brood_stream *stream)
{
	begun++;
}

static void count_end(struct brood_stream *stream)
{
	ended++;
}

Test(http_serve, requests_are_counted)
{
	static const struct brood_stream_host host = { .request_begin = count_begin, .request_end = count_end };
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	pair.stream.host = &host;
	peer_send(&pair, A A A, strlen(A A A));
	shutdown(pair.peer, SHUT_WR);
	cr_assert_eq(serve(&pair), 0);
	cr_expect_eq(begun, 3);
	cr_expect_eq(ended, 3);
	pair_done(&pair);
}

Test(http_serve, silence_gets_no_answer)
{
	const struct brood_timeouts timeouts = { .idle_ms = 50, .read_ms = FAR_MS, .write_ms = FAR_MS };
	struct stream_pair pair;

	pair_tcp(&pair, &timeouts);
	cr_expect_eq(serve(&pair), 0);
	cr_expect_eq(recv(pair.peer, heard, sizeof(heard), 0), 0);
	pair_done(&pair);
	cr_expect_str_eq(ask(""), "");
}

static void *drip(void *argument)
{
	const struct stream_pair *pair = argument;
	const struct timespec pause = { .tv_nsec = 10000000 };

	/* Until the other side closes. */
	while (send(pair->peer, "X", 1, MSG_NOSIGNAL) == 1)
		nanosleep(&pause, NULL);
	return NULL;
}

/* Each byte comes long before the read time-out, the whole never. */
static void expect_too_slow(const char *beginning, const struct brood_timeouts *timeouts)
{
	struct stream_pair pair;
	uint64_t before = now_ms();
	pthread_t thread;

	pair_tcp(&pair, timeouts);
	peer_send(&pair, beginning, strlen(beginning));
	thread = in_thread(drip, &pair);
	cr_expect_eq(serve(&pair), 0);
	cr_expect_lt(now_ms() - before, FAR_MS / 2);
	cr_assert_gt(recv(pair.peer, heard, sizeof(heard) - 1, MSG_DONTWAIT), 0);
	expect_status(heard, 408);
	expect_field(heard, "Connection", "close");
	pthread_join(thread, NULL);
	pair_done(&pair);
}

Test(http_serve, a_slow_head_is_408)
{
	const struct brood_timeouts timeouts = { .idle_ms = FAR_MS, .read_ms = 300, .write_ms = FAR_MS };

	expect_too_slow("GET /", &timeouts);
}

Test(http_serve, a_slow_body_is_408)
{
	const struct brood_timeouts timeouts = { .idle_ms = FAR_MS, .read_ms = 300, .write_ms = FAR_MS };

	expect_too_slow("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", &timeouts);
}

Test(http_serve, half_a_head_is_400)
{
	expect_status(ask("GET /a.txt HTTP/1.1\r\nHost"), 400);
	expect_status(ask("\r\n"), 400);
}

/* ---- what is refused ---- */

Test(http_serve, smuggling_shapes_are_400_and_close)
{
	static const char *const shapes[] = {
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n a: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	};
	char said[512];

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		snprintf(said, sizeof(said), "%s%s", shapes[i], A);
		expect_statuses(said, "400 ");
		expect_field(heard, "Connection", "close");
		cr_expect_null(strstr(heard, "hello"), "%s", said);
	}
}

Test(http_serve, versions)
{
	expect_statuses("GET / HTTP/2.0\r\nHost: a\r\n\r\n" A, "505 ");
	expect_statuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 ");
}

Test(http_serve, overlong_heads)
{
	static char said[200000];

	settings.head_limit = 4096;
	settings.target_limit = 1024;
	memset(said, 'a', sizeof(said) - 1);
	memcpy(said, "GET /", 5);
	expect_status(ask(said), 414);
	expect_field(heard, "Connection", "close");
	memcpy(said, "GET / HTTP/1.1\r\nX: ", 19);
	expect_status(ask(said), 431);
	expect_field(heard, "Connection", "close");
	settings.field_limit = 2;
	expect_status(ask_for("GET", "/", "B: b\r\nC: c\r\n"), 431);
}

Test(http_serve, paths_that_are_refused)
{
	put_directory("sub");
	put_text("secret", "no");
	put_text("sub/b.txt", "b");
	expect_status(get("/../etc/passwd"), 400);
	expect_status(get("/sub/../../etc/passwd"), 400);
	expect_status(get("/%2e%2e/etc/passwd"), 400);
	expect_status(get("/sub/.%2E/secret"), 400);
	expect_status(get("/./a.txt"), 400);
	expect_status(get("/a.txt%00.html"), 400);
	expect_status(get("/a.txt%"), 400);
	expect_status(get("/a.txt%g0"), 400);
	expect_status(get("/sub%2fb.txt"), 404);
	expect_status(get("/..%2fetc/passwd"), 404);
	expect_status(get("a.txt"), 400);
	expect_status(get("ftp://a/a.txt"), 400);
	expect_status(get("http:///a.txt"), 400);
	expect_status(get("http://u@a/a.txt"), 400);
}

Test(http_serve, links_do_not_lead_out_of_the_root)
{
	put_directory("sub");
	put_link("out", "/etc/hostname");
	put_link("up", "../../../etc/hostname");
	put_link("etc", "/etc");
	put_link("in", "a.txt");
	put_link("sub/in", "../a.txt");
	put_link("loop", "loop");
	put_link("magic", "/proc/self/root/etc/hostname");
	expect_status(get("/out"), 403);
	expect_status(get("/up"), 403);
	expect_status(get("/etc/hostname"), 403);
	expect_status(get("/magic"), 403);
	expect_status(get("/loop"), 403);
	expect_status(get("/in"), 200);
	expect_status(get("/sub/in"), 200);
}

Test(http_serve, what_is_no_file_is_not_served)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/fifo", root);
	cr_assert_eq(mkfifo(path, 0644), 0);
	expect_status(get("/fifo"), 403); /* and opening it has not waited for a writer */
	expect_status(get("/a.txt/"), 404);
	expect_status(get("/a.txt/b"), 404);
	expect_status(get("/missing"), 404);
	if (geteuid() != 0) {
		put_text("closed", "x");
		snprintf(path, sizeof(path), "%s/closed", root);
		chmod(path, 0);
		expect_status(get("/closed"), 403);
	}
}

Test(http_serve, a_name_too_long_is_404)
{
	static char target[6000];

	memset(target, 'a', sizeof(target) - 1);
	target[0] = '/';
	expect_status(get(target), 404);
	target[300] = '\0';
	expect_status(get(target), 404);
}

/* ---- bodies of requests ---- */

Test(http_serve, bodies_are_read_away)
{
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde" A, "200 200 ");
	expect_statuses("POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde" A, "405 200 ");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
			"5;x=\"y\"\r\nabcde\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n" A,
		"200 200 ");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" A, "200 200 ");
	/* A body that looks like a request is none. */
	expect_statuses("GET /missing HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n" A, "404 ");
}

Test(http_serve, the_head_survives_its_body)
{
	static char said[40000] =
		"GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=7-11\r\nContent-Length: 30000\r\n\r\n";
	size_t size = strlen(said);

	memset(said + size, 'b', 30000);
	ask_bytes(said, size + 30000);
	expect_status(heard, 206);
	cr_expect_str_eq(body_of(heard), "world");
}

Test(http_serve, a_body_above_the_limit_is_413_and_close)
{
	settings.body_limit = 10;
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789" A, "200 200 ");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a" A, "413 ");
	expect_field(heard, "Connection", "close");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
			"8\r\n01234567\r\n3\r\nabc\r\n0\r\n\r\n" A,
		"413 ");
	expect_statuses("PUT /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a" A, "405 ");
	expect_field(heard, "Connection", "close");
}

Test(http_serve, half_a_body_is_400)
{
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcd", "400 ");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "400 ");
}

Test(http_serve, expectations)
{
	const char *answer =
		ask("GET /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde");

	expect_status(answer, 100);
	cr_expect_str_eq(statuses(answer), "100 200 ");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n" A, "200 200 ");
	expect_statuses(
		"PUT /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n" A, "405 ");
	expect_field(heard, "Connection", "close");
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n" A, "417 ");
	settings.body_limit = 4;
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "413 ");
}

/* ---- files and directories ---- */

Test(http_serve, files_of_all_sizes)
{
	static const size_t sizes[] = { 0, 1, 128, 16383, 16384, 16385, 100000, 1000000 };
	static char bytes[1000000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 31 + i / 127);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct stream_pair pair;
		ssize_t got;
		pthread_t thread;

		put_file("big.bin", bytes, sizes[i]);
		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, "GET /big.bin HTTP/1.0\r\n\r\n", 25);
		thread = in_thread(serve_in_thread, &pair);
		got = peer_receive_all(pair.peer, heard, sizeof(heard));
		pthread_join(thread, NULL);
		cr_assert_gt(got, 0);
		expect_field(heard, "Content-Type", "application/octet-stream");
		cr_expect_eq(strtoul(field_of(heard, "Content-Length"), NULL, 10), sizes[i]);
		cr_assert_eq((size_t)(got - (body_of(heard) - heard)), sizes[i]);
		cr_expect_arr_eq(body_of(heard), bytes, sizes[i]);
		pair_done(&pair);
	}
}

/* The client hears fewer bytes than were announced, and the end: nothing else would tell it. */
Test(http_serve, a_file_that_is_cut_while_it_is_sent_ends_the_connection)
{
	const off_t announced = 64 << 20, left = 8 << 20;
	struct stream_pair pair;
	pthread_t thread;
	char path[128];
	ssize_t got, total = 0;

	put_text("big.bin", "");
	snprintf(path, sizeof(path), "%s/big.bin", root);
	cr_assert_eq(truncate(path, announced), 0);
	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n" A, 35 + strlen(A));
	thread = in_thread(serve_in_thread, &pair);
	while ((got = recv(pair.peer, heard, sizeof(heard) - 1, 0)) > 0) {
		if (total == 0)
			cr_assert_eq(truncate(path, left), 0);
		total += got;
	}
	pthread_join(thread, NULL);
	cr_expect_eq(result, -ENODATA, "%d", result);
	cr_expect_lt(total, announced);
	cr_expect_null(memmem(heard, sizeof(heard), "hello", 5));
	pair_done(&pair);
}

Test(http_serve, a_file_is_what_its_path_names_now)
{
	struct stream_pair pair;
	char from[128], to[128];
	pthread_t thread;

	snprintf(from, sizeof(from), "%s/new.txt", root);
	snprintf(to, sizeof(to), "%s/a.txt", root);
	pair_tcp(&pair, &far_timeouts);
	thread = in_thread(serve_in_thread, &pair);
	for (int i = 0; i < 3; i++) {
		char text[16];

		snprintf(text, sizeof(text), "version %d", i);
		put_text("new.txt", text);
		set_modified("new.txt", OLD_TIME);
		cr_assert_eq(rename(from, to), 0);
		peer_send(&pair, A, strlen(A));
		memset(heard, 0, 1024);
		cr_assert_gt(recv(pair.peer, heard, 1023, 0), 0);
		cr_expect_str_eq(body_of(heard), text);
	}
	/* A component of the path becomes a link to outside. */
	cr_assert_eq(unlink(to), 0);
	put_link("a.txt", "/etc/hostname");
	peer_send(&pair, A, strlen(A));
	cr_assert_gt(recv(pair.peer, heard, 1023, 0), 0);
	expect_status(heard, 403);
	shutdown(pair.peer, SHUT_WR);
	pthread_join(thread, NULL);
	pair_done(&pair);
}

Test(http_serve, directories)
{
	put_directory("sub");
	put_directory("sub/deep");
	put_text("sub/index.html", "index");
	expect_status(get("/sub"), 301);
	expect_field(heard, "Location", "/sub/");
	expect_status(get("/sub?a=b&c"), 301);
	expect_field(heard, "Location", "/sub/?a=b&c");
	expect_status(get("//sub//deep?"), 301);
	expect_field(heard, "Location", "/sub/deep/?");
	expect_status(get("http://a/sub"), 301);
	expect_field(heard, "Location", "/sub/");
	expect_status(get("/sub/"), 200);
	cr_expect_str_eq(body_of(heard), "index");
	expect_field(heard, "Content-Type", "text/html; charset=utf-8");
	expect_status(get("//sub///"), 200);
	expect_status(get("/sub/deep/"), 403);
	expect_status(get("/"), 403);
	put_text("index.html", "top");
	expect_status(get("/"), 200);
	expect_status(get("http://a"), 200);
	expect_status(get("http://a?x"), 200);
	expect_status(get("/nothing/"), 404);
}

Test(http_serve, a_redirect_never_leads_to_another_host)
{
	put_directory("evil.example");
	put_directory("a b\"<");
	put_directory("x");
	put_directory("x/\r\n");
	expect_status(get("//evil.example"), 301);
	expect_field(heard, "Location", "/evil.example/");
	expect_status(get("/a%20b%22%3C"), 301);
	expect_field(heard, "Location", "/a%20b%22%3C/");
	expect_status(get("/x/%0d%0a"), 301);
	expect_field(heard, "Location", "/x/%0D%0A/");
}

Test(http_serve, index_files_in_their_order)
{
	static const char *const index[] = { "index.html", "sub", "index.txt", NULL };

	settings.index = index;
	put_directory("sub"); /* a directory is no index */
	put_text("index.txt", "text");
	expect_status(get("/"), 200);
	cr_expect_str_eq(body_of(heard), "text");
	expect_field(heard, "Content-Type", "text/plain; charset=utf-8");
	put_text("index.html", "html");
	cr_expect_str_eq(body_of(get("/")), "html");
}

Test(http_serve, listing)
{
	const char *body;

	settings.listing = true;
	put_directory("sub");
	put_directory("sub/inner");
	put_text("sub/.hidden", "");
	put_text("sub/<b>&\"", "1234");
	put_text("sub/a:b c", "");
	put_link("sub/link", "/etc/hostname");
	expect_status(get("/sub/"), 200);
	expect_field(heard, "Content-Type", "text/html; charset=utf-8");
	body = body_of(heard);
	cr_expect_eq(strtoul(field_of(heard, "Content-Length"), NULL, 10), strlen(body));
	cr_expect_not_null(strstr(body, "<a href=\"./%3Cb%3E%26%22\">&lt;b&gt;&amp;&quot;</a></td><td>4</td>"));
	cr_expect_not_null(strstr(body, "<a href=\"./inner/\">inner/</a>"));
	cr_expect_not_null(strstr(body, "<a href=\"./a:b%20c\">a:b c</a>"));
	cr_expect_not_null(strstr(body, "<a href=\"../\">"));
	cr_expect_null(strstr(body, "hidden"));
	cr_expect_lt(strstr(body, "a:b"), strstr(body, "inner"));
	body = body_of(get("/"));
	cr_expect_null(strstr(body, "../"));
	expect_status(ask_for("HEAD", "/sub/", ""), 200);
	cr_expect_str_eq(body_of(heard), "");
	put_text("sub/index.html", "index");
	cr_expect_str_eq(body_of(get("/sub/")), "index");
}

Test(http_serve, types)
{
	settings.charset = "";
	put_text("page.HTML", "x");
	put_text("picture.png", "x");
	put_text("noext", "x");
	put_text(".html", "x");
	put_text("a.tar.gz", "x");
	put_text("odd.zzzzzz", "x");
	expect_field(get("/page.HTML"), "Content-Type", "text/html");
	expect_field(get("/picture.png"), "Content-Type", "image/png");
	expect_field(get("/noext"), "Content-Type", "application/octet-stream");
	expect_field(get("/.html"), "Content-Type", "application/octet-stream");
	expect_field(get("/a.tar.gz"), "Content-Type", "application/gzip");
	expect_field(get("/odd.zzzzzz"), "Content-Type", "application/octet-stream");
}

Test(http_serve, without_a_table_of_types_a_few_are_known)
{
	settings.mime_types = "/nonexistent/mime.types";
	expect_field(get("/a.txt"), "Content-Type", "text/plain; charset=utf-8");
	cr_expect_str_eq(log_text,
		"4 http: cannot open the table of media types /nonexistent/mime.types: No such file or directory");
}

Test(http_serve, a_root_that_is_not_there_is_an_error_at_the_start)
{
	void *state = NULL;

	settings.root = "/nonexistent/www";
	cr_expect_eq(http_new(&state), -ENOENT);
	cr_expect_null(state);
	cr_expect_str_eq(log_text, "3 http: cannot open the root /nonexistent/www: No such file or directory");
	settings.root = "/etc/hostname";
	cr_expect_eq(http_new(&state), -ENOTDIR);
}

Test(http_serve, a_root_that_may_not_be_passed_through_is_an_error_at_the_start)
{
	uid_t user = geteuid();
	char path[256];
	void *state = NULL;

	put_directory("closed");
	snprintf(path, sizeof(path), "%s/closed", root);
	cr_assert_eq(chmod(path, 0), 0);
	cr_assert_eq(chmod(root, 0711), 0);
	settings.root = path;
	if (user == 0)
		cr_assert_eq(seteuid(65534), 0);
	cr_expect_eq(http_new(&state), -EACCES);
	cr_expect_null(state);
	cr_assert_eq(seteuid(user), 0);
	cr_expect_str_eq(strrchr(log_text, '/'), "/closed: Permission denied");
}

/* ---- conditions and ranges ---- */

Test(http_serve, conditions)
{
	char etag[64], fields[256];

	snprintf(etag, sizeof(etag), "%s", field_of(get("/a.txt"), "ETag"));
	snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", etag);
	expect_status(ask_for("GET", "/a.txt", fields), 304);
	expect_field(heard, "ETag", etag);
	cr_expect_str_eq(body_of(heard), "");
	cr_expect_null(field_of(heard, "Content-Length"));
	expect_status(ask_for("HEAD", "/a.txt", fields), 304);
	snprintf(fields, sizeof(fields), "If-None-Match: \"x\", W/%s\r\n", etag);
	expect_status(ask_for("GET", "/a.txt", fields), 304);
	expect_status(ask_for("GET", "/a.txt", "If-None-Match: *\r\n"), 304);
	expect_status(ask_for("GET", "/a.txt", "If-None-Match: \"x\"\r\nIf-Modified-Since: " OLD_DATE "\r\n"), 200);
	expect_status(ask_for("GET", "/a.txt", "If-Modified-Since: " OLD_DATE "\r\n"), 304);
	expect_status(ask_for("GET", "/a.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), 200);
	expect_status(ask_for("GET", "/a.txt", "If-Modified-Since: yesterday\r\n"), 200);
	expect_status(ask_for("GET", "/a.txt", "If-Match: \"x\"\r\n"), 412);
	snprintf(fields, sizeof(fields), "If-Match: %s\r\n", etag);
	expect_status(ask_for("GET", "/a.txt", fields), 200);
	expect_status(ask_for("GET", "/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), 412);
	expect_status(ask_for("GET", "/missing", "If-None-Match: *\r\n"), 404);
	/* One that is given twice still stands before the date. */
	snprintf(fields, sizeof(fields), "If-None-Match: \"x\"\r\nIf-None-Match: \"y\"\r\nIf-Modified-Since: %s\r\n",
		OLD_DATE);
	expect_status(ask_for("GET", "/a.txt", fields), 200);
	/* A connection goes on after a 304. */
	expect_statuses("GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n" A, "304 200 ");
}

Test(http_serve, a_file_from_the_future_has_no_date_in_the_future)
{
	char date[64];

	set_modified("a.txt", time(NULL) + 100000);
	get("/a.txt");
	snprintf(date, sizeof(date), "%s", field_of(heard, "Date"));
	expect_field(heard, "Last-Modified", date);
}

Test(http_serve, ranges)
{
	char etag[64], fields[256];

	snprintf(etag, sizeof(etag), "%s", field_of(get("/a.txt"), "ETag"));
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-4\r\n"), 206);
	expect_field(heard, "Content-Range", "bytes 0-4/13");
	expect_field(heard, "Content-Length", "5");
	cr_expect_str_eq(body_of(heard), "hello");
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=7-\r\n"), 206);
	cr_expect_str_eq(body_of(heard), "world\n");
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=-6\r\n"), 206);
	cr_expect_str_eq(body_of(heard), "world\n");
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=13-\r\n"), 416);
	expect_field(heard, "Content-Range", "bytes */13");
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-1,3-4\r\n"), 200);
	cr_expect_str_eq(body_of(heard), "hello, world\n");
	expect_status(ask_for("GET", "/a.txt", "Range: lines=0-1\r\n"), 200);
	expect_status(ask_for("HEAD", "/a.txt", "Range: bytes=0-4\r\n"), 200);
	snprintf(fields, sizeof(fields), "Range: bytes=0-4\r\nIf-Range: %s\r\n", etag);
	expect_status(ask_for("GET", "/a.txt", fields), 206);
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-4\r\nIf-Range: \"x\"\r\n"), 200);
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-4\r\nIf-Range: " OLD_DATE "\r\n"), 206);
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-4\r\nIf-None-Match: *\r\n"), 304);
	expect_status(ask_for("GET", "/a.txt", "Range: bytes=0-4\r\nRange: bytes=0-4\r\n"), 200);
	/* A condition that cannot be read is not forgotten. */
	snprintf(fields, sizeof(fields), "Range: bytes=0-4\r\nIf-Range: %s\r\nIf-Range: \"x\"\r\n", etag);
	expect_status(ask_for("GET", "/a.txt", fields), 200);
}

Test(http_serve, a_range_of_a_large_file)
{
	static char bytes[200000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)('a' + i % 23);
	put_file("big.bin", bytes, sizeof(bytes));
	expect_status(ask_for("GET", "/big.bin", "Range: bytes=100000-150000\r\n"), 206);
	expect_field(heard, "Content-Range", "bytes 100000-150000/200000");
	cr_assert_eq(strlen(body_of(heard)), 50001);
	cr_expect_arr_eq(body_of(heard), bytes + 100000, 50001);
}

/* ---- the access log ---- */

static void expect_logged(const char *said, const char *request, const char *rest)
{
	char pattern[512];

	access_text[0] = '\0';
	settings.access_log = 3;
	ask(said);
	snprintf(pattern, sizeof(pattern), "] \"%s\" %s\n", request, rest);
	cr_expect_eq(strncmp(access_text, "3 unknown - - [", 15), 0, "%s", access_text);
	cr_expect_not_null(strstr(access_text, pattern), "%s in: %s", pattern, access_text);
	cr_expect_eq(strchr(access_text, '\n'), strrchr(access_text, '\n'), "more than one line");
}

Test(http_serve, access_log)
{
	expect_logged("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a.txt HTTP/1.1", "200 13");
	expect_logged("HEAD /a.txt HTTP/1.0\r\n\r\n", "HEAD /a.txt HTTP/1.0", "200 -");
	expect_logged("GET /a\"b\\ HTTP/1.0\r\n\r\n", "GET /a\\x22b\\x5C HTTP/1.0", "404 181");
	expect_logged("\r\nGET /\033[0m\303\244\r\n\r\n", "GET /\\x1B[0m\\xC3\\xA4", "400 183");
	expect_logged(
		"GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET /a.txt HTTP/1.1", "200 13");
}

/* What has come of a head is logged as it came, also where the last read had to move it first, and brought nothing. */
Test(http_serve, the_log_line_of_half_a_head)
{
	static const struct {
		const char *before; /* the request in front of it */
		size_t size;        /* of both together */
	} cases[] = {
		{A,   13000}, /* moved down in the buffer, over its own place */
		{ "", 16384}, /* the buffer was full, and grew */
	};
	static char said[16384 + 1];

	settings.head_limit = 65536;
	settings.access_log = 1;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		access_text[0] = '\0';
		memset(said, 'a', sizeof(said) - 1);
		strcpy(said, cases[i].before);
		memcpy(said + strlen(cases[i].before), "GET /half HTTP/1.1\r\nX: ", 23);
		ask_bytes(said, cases[i].size);
		cr_expect_not_null(
			strstr(access_text, "] \"GET /half HTTP/1.1\" 400 183\n"), "%zu: %s", i, access_text);
	}
}

Test(http_serve, access_log_is_off)
{
	ask(A);
	cr_expect_str_eq(access_text, "");
}

Test(http_serve, a_log_line_of_a_long_request_is_cut)
{
	static char said[8000];

	memset(said, '"', sizeof(said) - 1);
	memcpy(said, "GET /", 5);
	memcpy(said + sizeof(said) - 1 - 13, " HTTP/1.0\r\n\r\n", 13);
	settings.access_log = 1;
	expect_status(ask(said), 404);
	cr_expect_lt(strlen(access_text), 4000);
	cr_expect_not_null(strstr(access_text, "\\x22\" 404 181\n"));
}

/* ---- system calls ---- */

/* The second connection of a worker is looked at: by then it has all its memory. */
static void serve_traced(void *argument)
{
	struct stream_pair *pairs = argument;
	int second = fd_steal(&pairs[1].stream.fd);
	struct brood_stream *stream = &pairs[0].stream;
	void *state;

	if (http_new(&state) < 0 || handler_http.serve(state, stream) != 0)
		_exit(1);
	brood_close(stream);
	brood_stream_attach(stream, second, &far_timeouts);
	calls_mark();
	if (handler_http.serve(state, stream) != 0)
		_exit(2);
	brood_close(stream);
	calls_mark();
}

Test(http_serve, a_small_file_takes_few_system_calls)
{
	/* glibc makes an fstat() of a newfstatat(2), or not. */
	static const long expected[] = { SYS_recvfrom, SYS_openat2, SYS_fstat, SYS_pread64, SYS_sendto, SYS_close,
		SYS_close };
	struct stream_pair pairs[2];
	struct calls calls;

	for (size_t i = 0; i < 2; i++) {
		pair_tcp(&pairs[i], &far_timeouts);
		peer_send(&pairs[i], "GET /a.txt HTTP/1.0\r\n\r\n", 23);
	}
	calls_of(serve_traced, pairs, &calls);
	if (calls.numbers[2] == SYS_newfstatat)
		calls.numbers[2] = SYS_fstat;
	calls_expect(&calls, expected, ARRAY_SIZE(expected));
	for (size_t i = 0; i < 2; i++)
		pair_done(&pairs[i]);
}

static void serve_pipelined(void *argument)
{
	struct stream_pair *pair = argument;
	void *state;

	if (http_new(&state) < 0 || brood_await(&pair->stream) != 1)
		_exit(1);
	calls_mark();
	if (handler_http.serve(state, &pair->stream) != 0)
		_exit(2);
	calls_mark();
}

/* The second time within a second it is only looked at. */
Test(http_serve, a_file_asked_for_again_takes_fewer)
{
	static const char request[] = "GET /debian_version HTTP/1.1\r\nHost: a\r\n\r\n";
	static const long expected[] = { SYS_openat2, SYS_newfstatat, SYS_pread64, SYS_sendto, SYS_close,
		SYS_newfstatat, SYS_sendto, SYS_recvfrom };
	struct calls calls = { .count = 0 };

	if (access("/etc/debian_version", R_OK) < 0)
		cr_skip_test("it takes a file that has not changed of late");
	settings.root = "/etc";
	settings.mime_types = "/nonexistent";
	/* A second may just have begun between the two. */
	for (int i = 0; i < 5 && calls.count != ARRAY_SIZE(expected); i++) {
		struct stream_pair pair;

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, request, strlen(request));
		peer_send(&pair, request, strlen(request));
		shutdown(pair.peer, SHUT_WR);
		calls_of(serve_pipelined, &pair, &calls);
		pair_done(&pair);
	}
	for (size_t i = 0; i < calls.count; i++)
		if (calls.numbers[i] == SYS_fstat)
			calls.numbers[i] = SYS_newfstatat;
	calls_expect(&calls, expected, ARRAY_SIZE(expected));
}
