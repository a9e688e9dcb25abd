/* SPDX-License-Identifier: MIT */
#ifndef HTTP_LISTING_H
#define HTTP_LISTING_H
/*
 * A directory as a page: its entries in the order of their names, those that begin with a dot left out, with sizes and
 * times of what is not a link (what a link leads to may be outside of the root).
 */
#include "base/attrs.h"
#include "handlers/http/text.h"

/* More entries than these are not shown, and the page says so. */
#define LISTING_ENTRIES_MAX 10000

/* Writes the page for the directory DIRECTORY_FD, which the client knows as /PATH, to the growing buffer PAGE. Returns
 * 0 or a negative errno. */
ATTR_NODISCARD int listing_page(int directory_fd, struct span path, struct buffer *page);

#endif
