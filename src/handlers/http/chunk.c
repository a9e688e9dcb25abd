/* SPDX-License-Identifier: MIT */
#include "handlers/http/chunk.h"

#include "handlers/http/text.h"

enum chunk_state {
	SIZE_DIGITS,
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_START,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
};

/* Sixteen digits fill 64 bits. */
#define SIZE_DIGITS_MAX 16

static int take_size_digit(struct chunk_parser *parser, char c)
{
	int digit = text_hex_digit(c);

	if (digit >= 0) {
		if (parser->digits == SIZE_DIGITS_MAX)
			return 400;
		parser->digits++;
		parser->left = parser->left * 16 + (unsigned int)digit;
		return 0;
	}
	if (parser->digits == 0)
		return 400;
	if (c == '\r')
		parser->state = SIZE_LF;
	else if (c == ';')
		parser->state = EXTENSION;
	else
		return 400;
	return 0;
}

/* The byte C of an extension or of a trailer's value, which a CR ends. */
static int take_text(struct chunk_parser *parser, char c, enum chunk_state at_end)
{
	if (c == '\r')
		parser->state = at_end;
	else if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f)
		return 400;
	return 0;
}

static int take_expected(struct chunk_parser *parser, char c, char expected, enum chunk_state next)
{
	parser->state = next;
	return c == expected ? 0 : 400;
}

static int begin_chunk(struct chunk_parser *parser, const struct chunk_limits *limits)
{
	parser->state = parser->left > 0 ? DATA : TRAILER_START;
	parser->digits = 0;
	if (parser->left > limits->body - parser->body)
		return 413;
	parser->body += parser->left;
	return 0;
}

static int take_trailer_name(struct chunk_parser *parser, char c)
{
	if (parser->state == TRAILER_START && c == '\r') {
		parser->state = END_LF;
		return 0;
	}
	if (parser->state == TRAILER_NAME && c == ':') {
		parser->state = TRAILER_VALUE;
		return 0;
	}
	parser->state = TRAILER_NAME;
	return text_is_token_char(c) ? 0 : 400;
}

/* Takes one byte outside of a chunk's data. */
static int take_byte(struct chunk_parser *parser, char c, const struct chunk_limits *limits)
{
	switch ((enum chunk_state)parser->state) {
	case SIZE_DIGITS:
		return take_size_digit(parser, c);
	case EXTENSION:
		return take_text(parser, c, SIZE_LF);
	case SIZE_LF:
		return c == '\n' ? begin_chunk(parser, limits) : 400;
	case DATA_CR:
		return take_expected(parser, c, '\r', DATA_LF);
	case DATA_LF:
		return take_expected(parser, c, '\n', SIZE_DIGITS);
	case TRAILER_START:
	case TRAILER_NAME:
		return take_trailer_name(parser, c);
	case TRAILER_VALUE:
		return take_text(parser, c, TRAILER_LF);
	case TRAILER_LF:
		return take_expected(parser, c, '\n', TRAILER_START);
	case END_LF:
		return c == '\n' ? CHUNK_DONE : 400;
	case DATA:
		break;
	}
	return 400;
}

static size_t take_data(struct chunk_parser *parser, size_t size)
{
	size_t taken = size < parser->left ? size : (size_t)parser->left;

	parser->left -= taken;
	if (parser->left == 0)
		parser->state = DATA_CR;
	return taken;
}

int chunk_feed(
	struct chunk_parser *parser, const char *text, size_t size, const struct chunk_limits *limits, size_t *ret_used)
{
	size_t at = 0;
	int result = CHUNK_MORE;

	while (at < size && result == CHUNK_MORE) {
		if (parser->state == DATA) {
			at += take_data(parser, size - at);
			continue;
		}
		if (parser->state == EXTENSION || parser->state >= TRAILER_START)
			parser->overhead++;
		result = parser->overhead > limits->overhead ? 431 : take_byte(parser, text[at], limits);
		at++;
	}
	*ret_used = at;
	return result;
}
