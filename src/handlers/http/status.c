/* SPDX-License-Identifier: MIT */
#include "handlers/http/status.h"

#include <stddef.h>

#include "base/attrs.h"

static const struct status statuses[] = {
  /* The last row is what status_find() falls back to. */
	{200,  "OK",			      NULL,							      false},
	{ 206, "Partial Content",                 NULL,							      false},
	{ 304, "Not Modified",                    NULL,							      false},
	{ 404, "Not Found",                       "There is nothing of that name here.",                             false},
	{ 301, "Moved Permanently",               "The page has moved.",                                             false},
	{ 403, "Forbidden",                       "This may not be seen.",                                           false},
	{ 405, "Method Not Allowed",              "Files can be read here, and nothing else.",                       false},
	{ 412, "Precondition Failed",             "The file is not what the request expected it to be.",             false},
	{ 416, "Range Not Satisfiable",           "The file does not reach as far as the range that was asked for.", false},
	{ 400, "Bad Request",                     "The request cannot be understood.",                               true },
	{ 408, "Request Timeout",                 "The request took too long to arrive.",                            true },
	{ 413, "Content Too Large",               "The request carries more than is taken here.",                    true },
	{ 414, "URI Too Long",                    "The address that was asked for is too long.",                     true },
	{ 417, "Expectation Failed",              "The request expects something unknown here.",                     true },
	{ 431, "Request Header Fields Too Large", "The head of the request is too large.",                           true },
	{ 501, "Not Implemented",                 "The request asks for something unknown here.",                    true },
	{ 503, "Service Unavailable",             "The server cannot do this just now.",                             true },
	{ 505, "HTTP Version Not Supported",      "The server speaks HTTP/1.1 and HTTP/1.0.",                        true },
	{ 500, "Internal Server Error",           "The server has failed.",                                          true },
};

const struct status *status_find(int code)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(statuses) - 1 && statuses[i].code != code)
		i++;
	return &statuses[i];
}
