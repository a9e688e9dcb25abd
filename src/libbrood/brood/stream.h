/* SPDX-License-Identifier: MIT */
#ifndef BROOD_STREAM_H
#define BROOD_STREAM_H
/*
 * brood/stream.h: one connected stream socket, read and written with plain blocking calls.
 *
 * Inside every call: partial transfers are continued, EINTR is hidden (also the EINTR that a socket with a time-out
 * returns after SIGSTOP/SIGCONT, signal(7)), end of stream and time-outs are told apart, and no SIGPIPE is raised
 * (MSG_NOSIGNAL, send(2)) but by brood_send_file(): sendfile(2) has no such flag. Workers ignore SIGPIPE.
 *
 * Results: 0 or a count, or a negative errno:
 *	-ETIMEDOUT   a time-out of the stream, or its deadline, has passed
 *	-ECONNRESET  the peer has reset the connection
 *	-EPIPE       writing after the peer has gone
 *	-EBADMSG     the stream ended in the middle of what was asked for
 *	-EMSGSIZE    what was asked for is longer than the limit given
 *	and whatever recv(2), send(2) and sendfile(2) return besides.
 * After a negative result the stream may only be closed, except where a call says otherwise.
 *
 * Time-outs are in milliseconds; 0 is "none". A stream has three, and one deadline over all calls:
 *	idle    the longest silence before a request
 *	read    the longest silence within a request
 *	write   the longest wait for room to write
 * A request has begun when brood_request_begin() was called (until brood_request_end()), when bytes of it are
 * buffered, or when the call at hand has got its first byte. So brood_await() waits `idle`; outside a request and
 * with nothing buffered, each brood_read() waits `idle` too, while brood_read_full(), brood_read_until() and
 * brood_peek() wait `idle` for the first byte and `read` for the following ones. Each wait counts anew: a peer
 * that sends a byte now and then is bounded by the deadline alone. A signal does not make a wait longer, with one
 * exception: the time before the first signal of a wait is not known where the kernel measures it, and does not
 * count (so twice the time-out is the most).
 *
 * A stream belongs to one process and one thread. Memory that a call returns belongs to the stream and is valid until
 * the next call that reads or closes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct brood_stream;

struct brood_timeouts {
	uint32_t idle_ms;
	uint32_t read_ms;
	uint32_t write_ms;
};

/* ---- a stream of one's own ---- */

/*
 * Makes a stream of the connected stream socket FD, a client's for instance, and owns it from then on. Workers do not
 * call this: they hand each handler its stream. Returns 0, or -ENOMEM; FD is then still the caller's.
 */
int brood_open(int fd, const struct brood_timeouts *timeouts, struct brood_stream **ret_stream);

/*
 * Connects to ADDRESS, and makes a stream of the connection:
 *
 *	host:port                the port in decimal, 1 to 65535; the host is a name or an IPv4 address
 *	[v6]:port                an IPv6 address, also with a scope, as in [fe80::1%eth0]:7000
 *	unix:/path, unix:@name   a unix socket; the second is of the abstract name space
 *
 * Of a name's addresses each is tried in turn, in the order of getaddrinfo(3). All of it ends WITHIN_MS milliseconds
 * from now, and 0 is no such limit: the kernel then gives up on an address after some two minutes. An address that does
 * not answer may use up its share of the time that is left, so that the others have theirs. The limit holds for the
 * name service too, where the C library is glibc 2.34 or later: a question that is not answered in time is left to a
 * thread of the C library's, which blocks all signals and ends on its own. Elsewhere, and without a limit,
 * getaddrinfo(3) takes its time (resolv.conf(5), `timeout` and `attempts`). An address in numbers asks no name service.
 *
 * On TCP, TCP_NODELAY is set. TIMEOUTS are the stream's from then on, and the limit does not stay as its deadline.
 * Returns 0, and *ret_stream is for brood_free(); or, of what went wrong with the address that was tried last,
 *	-EINVAL        ADDRESS is not written as above
 *	-ENAMETOOLONG  the host, or the path of a unix socket, is too long
 *	-ENOENT        there is no such host, it has no address, or there is no such unix socket
 *	-EAGAIN        the name service cannot answer now
 *	-EIO           the name service has failed
 *	-ECONNREFUSED  nobody listens there
 *	-ETIMEDOUT     the time is over, or the kernel gave up
 *	-ENOMEM, and whatever socket(2) and connect(2) return besides: -ENETUNREACH, -EHOSTUNREACH, -EACCES, ...
 */
int brood_connect(const char *address, uint32_t within_ms, const struct brood_timeouts *timeouts,
	struct brood_stream **ret_stream);

/*
 * Closes as brood_close() does, but at once where nothing was read or written, and frees what brood_open() or
 * brood_connect() made. Takes NULL.
 */
void brood_free(struct brood_stream *stream);

/* ---- reading ---- */

/*
 * Waits until at least one byte of the next request is there, at most the idle time-out, and has it buffered.
 * Returns 1; 0 at the end of the stream; or a negative errno. After -ETIMEDOUT the stream may still be written.
 */
int brood_await(struct brood_stream *stream);

/*
 * Reads what is there, at least one byte, at most SIZE, which must not be 0. Returns the count, or 0 at the end of the
 * stream.
 */
ssize_t brood_read(struct brood_stream *stream, void *buffer, size_t size);

/*
 * Reads exactly SIZE bytes. Returns SIZE; 0 if the stream ended before the first; -EBADMSG if it ended in between.
 */
ssize_t brood_read_full(struct brood_stream *stream, void *buffer, size_t size);

/*
 * Reads until DELIMITER (1 to 16 bytes), which is included, at most LIMIT bytes in all. *ret_text is the text, in the
 * stream's own buffer, not terminated. Returns its length; 0 at the end of the stream before the first byte;
 * -EBADMSG if it ended before the delimiter; -EMSGSIZE if LIMIT bytes have come without it; -ENOMEM; -EINVAL for a
 * delimiter of another size. After -EBADMSG and -EMSGSIZE what has come is still buffered, and can be read.
 */
ssize_t brood_read_until(
	struct brood_stream *stream, const void *delimiter, size_t delimiter_size, size_t limit, const char **ret_text);

/*
 * Looks at what is buffered without taking it: waits until more than HAVE bytes are there (so 0 waits for the first)
 * and returns how many, *ret_text pointing at them; 0 at the end of the stream when no more than HAVE will ever come;
 * -EMSGSIZE if LIMIT bytes are there already, and those are no more than HAVE; -ENOMEM. More than LIMIT may be
 * returned, where the next message has come too. brood_consume() takes COUNT bytes of what is buffered away.
 */
ssize_t brood_peek(struct brood_stream *stream, size_t have, size_t limit, const char **ret_text);
void brood_consume(struct brood_stream *stream, size_t count);

/* ---- writing ---- */

/* Writes all of BUFFER. Returns 0. */
int brood_write_all(struct brood_stream *stream, const void *buffer, size_t size);

/*
 * As brood_write_all(); tells the kernel that more follows at once, so that it may wait to fill a segment (MSG_MORE).
 * What follows may be the end: the last bytes before brood_close() or brood_shutdown_write() then travel with it in one
 * segment, which spares both sides a packet and the peer a wake-up.
 */
int brood_write_more(struct brood_stream *stream, const void *buffer, size_t size);

/* Writes all COUNT parts (1 to IOV_MAX), which it changes while it goes on. Returns 0. */
int brood_writev_all(struct brood_stream *stream, struct iovec *parts, int count);

/*
 * Sends COUNT bytes of the file FILE_FD from OFFSET, by sendfile(2). Returns 0; -ENODATA if the file is shorter.
 */
int brood_send_file(struct brood_stream *stream, int file_fd, off_t offset, uint64_t count);

/* ---- the connection ---- */

/* The peer's address as accept(2) gave it; *ret_size may be sizeof(sa_family_t) for an unnamed unix socket. */
const struct sockaddr *brood_peer(const struct brood_stream *stream, socklen_t *ret_size);

/* The address at our side, by getsockname(2). Returns 0. */
int brood_local(const struct brood_stream *stream, struct sockaddr_storage *ret_address, socklen_t *ret_size);

/* The peer's address as text, "192.0.2.1", "2001:db8::1" (a v4-mapped address as v4) or "unix", without a port. */
const char *brood_peer_text(struct brood_stream *stream);

/* The descriptor, for calls this interface lacks. What is buffered is not in it. It stays the stream's. */
int brood_descriptor(const struct brood_stream *stream);

/* Replaces the time-outs. */
void brood_set_timeouts(struct brood_stream *stream, const struct brood_timeouts *timeouts);
struct brood_timeouts brood_get_timeouts(const struct brood_stream *stream);

/* No call ends later than AFTER_MS from now; 0 takes the deadline away. */
void brood_set_deadline(struct brood_stream *stream, uint32_t after_ms);

/* Half-close: the peer sees the end of the stream; we may go on reading. Returns 0. */
int brood_shutdown_write(struct brood_stream *stream);

/*
 * Closes in order: where the peer may still be sending, writing is shut down first and what comes is read away for a
 * bounded time (at most 2 s and 16 MiB), since closing a socket with unread data resets it and may destroy the answer
 * on its way (RFC 1122 4.2.2.13). That is so where the last read got all it asked for, where bytes are buffered that
 * nobody took, where nothing was ever read, and after brood_shutdown_write(): a handler that knows better than the
 * stream that more is coming (it refuses a request before its body) calls that first.
 *
 * Where everything has been read, or a call has failed or timed out, it is one close(2). The worker calls it after
 * serve(); a handler may do so earlier. A second call does nothing.
 */
void brood_close(struct brood_stream *stream);

/* ---- requests, for handlers ---- */

/* A request begins (its first byte is there) and ends (its answer is written). Between the two the worker counts as
 * serving it: its duration goes to the histogram, `request_timeout` runs, and waiting for bytes is bounded by the read
 * time-out. Beginning twice is beginning once, and so with the end. */
void brood_request_begin(struct brood_stream *stream);
void brood_request_end(struct brood_stream *stream);

/*
 * The request under way may last for AFTER_MS milliseconds from now, whatever `request_timeout` says: for a handler
 * that knows that it goes on, and is not stuck. The deadline of the stream's calls moves, unless the handler has set a
 * nearer one by brood_set_deadline(), and so does the time at which the daemon would end the worker. It gives time and
 * never takes any, and may be called again and again: nothing bounds it but the handler, and, once the worker retires,
 * `stop_timeout`. A worker that the daemon had warned already (`overrun_signals`) is spared, and retires after the
 * request. Does nothing outside a request, without a `request_timeout`, and to a stream of one's own.
 */
void brood_extend(struct brood_stream *stream, uint32_t after_ms);

/* True once the worker has been asked to retire: a keep-alive protocol then says so in its next answer, and ends. */
bool brood_retiring(const struct brood_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
