/* SPDX-License-Identifier: MIT */
#include "base/logger_journal.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log_format.h"
#include "base/logger_signals.h"
#include "build_config.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* The entry's own fields and those of the line; a line that has more loses the last of them here, not in MESSAGE. */
#define FIELDS_MAX 64

/* sd_journal_sendv(3). */
typedef int sendv_function(const struct iovec *fields, int count);

static sendv_function *sendv;

int logger_journal_open(const char **ret_reason)
{
	void *library;
	union {
		void *symbol;
		sendv_function *function;
	} found;

	*ret_reason = "built without libsystemd";
	if (!HAVE_JOURNAL)
		return -ENOSYS;
	*ret_reason = "no journal at " JOURNAL_SOCKET;
	if (access(JOURNAL_SOCKET, W_OK) < 0)
		return -errno;
	library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	found.symbol = library != NULL ? dlsym(library, "sd_journal_sendv") : NULL;
	if (found.symbol == NULL) {
		*ret_reason = dlerror();
		return -ELIBACC;
	}
	sendv = found.function;
	return 0;
}

/* The fields of one entry, and the memory that they stand in. */
struct entry {
	struct log_text text;
	struct iovec fields[FIELDS_MAX];
	int count;
};

/* Ends the field that starts at START. */
static void entry_close_field(struct entry *entry, size_t start)
{
	entry->fields[entry->count++] = (struct iovec){
		.iov_base = entry->text.data + start,
		.iov_len = entry->text.used - start,
	};
}

static void entry_add(struct entry *entry, const char *name, const char *value, size_t size)
{
	size_t start = entry->text.used;

	log_text_add_string(&entry->text, name);
	log_text_add(&entry->text, value, size);
	entry_close_field(entry, start);
}

static void entry_add_number(struct entry *entry, const char *name, int64_t number)
{
	size_t start = entry->text.used;

	log_text_add_string(&entry->text, name);
	log_text_add_number(&entry->text, number);
	entry_close_field(entry, start);
}

/* Names of the journal are capitals, digits and the underscore (systemd.journal-fields(7)). */
static char journal_byte(char byte)
{
	if (byte >= 'a' && byte <= 'z')
		return (char)(byte - 'a' + 'A');
	if ((byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9'))
		return byte;
	return '_';
}

static void entry_add_field(struct entry *entry, const struct log_wire_field *field)
{
	size_t start = entry->text.used;

	log_text_add_string(&entry->text, "BROOD_");
	for (size_t i = 0; i < field->name_size; i++) {
		char byte = journal_byte(field->name[i]);

		log_text_add(&entry->text, &byte, 1);
	}
	log_text_add_string(&entry->text, "=");
	log_text_add(&entry->text, field->value, field->value_size);
	entry_close_field(entry, start);
}

int logger_journal_write(const struct log_record *record, const char *text, size_t size)
{
	char data[3 * LOG_FORMAT_MAX];
	struct entry entry = {
		.text = {.data = data, .size = sizeof(data)}
	};
	struct log_wire_field field;
	size_t position = 0;
	int result;

	entry_add(&entry, "MESSAGE=", text, size);
	entry_add_number(&entry, "PRIORITY=", record->header.level);
	entry_add(&entry, "SYSLOG_IDENTIFIER=brood", "", 0);
	entry_add(&entry, "SYSLOG_FACILITY=3", "", 0);
	entry_add_number(&entry, "SYSLOG_PID=", record->header.pid);
	entry_add(&entry, "BROOD_EVENT=", record->event, record->event_size);
	while (entry.count < FIELDS_MAX && log_wire_next(record, &position, &field))
		entry_add_field(&entry, &field);
	logger_signals_allow();
	result = sendv(entry.fields, entry.count);
	logger_signals_hold();
	return result;
}
