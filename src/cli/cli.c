/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/fd.h"
#include "base/image.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/title.h"
#include "build_config.h"
#include "cli/daemonize.h"
#include "cli/options.h"
#include "config/config.h"
#include "handlers/handlers.h"
#include "handlers/module/describe.h"
#include "handlers/module/description.h"
#include "master/adoption.h"
#include "master/master.h"
#include "net/inherited.h"
#include "worker/probe_program.h"

static const struct config_probe probe = {
	.module_describe = module_describe,
	.module_check = module_check,
	.program = probe_program,
	.description_free = module_description_free,
	.description_encode = module_description_encode,
	.description_decode = description_read,
};
static const struct config_host host = { .handlers = handlers_builtin, .probe = &probe };

static int load(const struct cli_options *options, const struct config_overrides *overrides, struct config **ret_config)
{
	int result = config_load(options->config, &host, overrides, stderr, ret_config);

	if (result == 0)
		return EXIT_STATUS_OK;
	if (result == -EINVAL)
		return EXIT_STATUS_CONFIG;
	fprintf(stderr, "brood: cannot load %s: %s\n", options->config, log_strerror(result));
	return EXIT_STATUS_SYSTEM;
}

/* ---- in the place of another image ---- */

/* Says, by the log, what keeps TEXT from being a configuration. */
static void log_lines(const char *event, char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")) != NULL)
		if (*line != '\0')
			log_event(LOG_LEVEL_ERROR, event, LOG_TEXT("text", line));
}

/*
 * The configuration that is in force, as the image before has written it: so all that it had has its place here, and
 * what the file says now comes by a reload. NULL where this version does not understand it.
 */
static struct config *load_in_force(
	const struct cli_options *options, const struct config_overrides *overrides, struct adoption *adoption)
{
	struct config *config = NULL;
	char *errors = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&errors, &size);
	int result;

	if (out == NULL || adoption->config_text == NULL) {
		if (out != NULL)
			fclose(out);
		free(errors);
		return NULL;
	}
	result = config_load_text(
		adoption->config_text, adoption->config_size, options->config, &host, overrides, out, &config);
	if (fclose(out) == 0 && result < 0)
		log_lines("the configuration in force is not understood by this version", errors);
	free(errors);
	adoption->in_force = result == 0;
	return result < 0 ? NULL : config;
}

/* The file was checked before: this is for what one that takes over needs besides. */
static int answer_check(const struct cli_options *options)
{
	char reason[ADOPTION_REASON_MAX];

	if (adoption_check(options->state_fd, reason) < 0) {
		fprintf(stderr, "%s\n", reason);
		return ADOPT_CHECK_EXIT_STATE;
	}
	puts(ADOPT_CHECK_ANSWER BROOD_VERSION);
	return EXIT_STATUS_OK;
}

/* To be freed. Links are not followed: whoever changes one means the file to be another one from then on. */
static char *absolute_path(const char *path)
{
	char directory[PATH_MAX], *absolute = NULL;

	if (path[0] == '/' || !getcwd(directory, sizeof(directory)))
		return strdup(path);
	return asprintf(&absolute, "%s/%s", directory, path) < 0 ? NULL : absolute;
}

/* Whether what was printed has reached its file is part of the answer: a script may look at nothing else. */
static int flush(FILE *out)
{
	return fflush(out) == 0 && !ferror(out) ? EXIT_STATUS_OK : EXIT_STATUS_SYSTEM;
}

static void report_ready(void)
{
	daemonize_report(EXIT_STATUS_OK);
}

/* What the command line brings along for the master. */
struct cli_context {
	const struct image *image;
	struct adoption *adoption;
};

static int run(const struct cli_options *options, const struct config *config, const struct config_origin *origin,
	const struct cli_context *context)
{
	struct inherited inherited = { 0 };
	const struct master_options master = {
		.detached = options->daemonize,
		.inherited = &inherited,
		.report_ready = report_ready,
		.image = context->image,
		.adoption = context->adoption,
		.origin = origin,
	};
	int result;
	int status;

	if (options->daemonize && getpid() == 1) {
		fputs("brood: the first process of a container cannot detach: its end would end all others\n", stderr);
		return EXIT_STATUS_USAGE;
	}
	result = inherited_take(&inherited);
	if (result < 0) {
		fprintf(stderr, "brood: LISTEN_FDS, LISTEN_FDNAMES: do not describe this process's descriptors: %s\n",
			log_strerror(result));
		return EXIT_STATUS_UNAVAILABLE;
	}
	/* An image that was executed by a daemon is one already. */
	result = options->daemonize && !context->adoption->there ? daemonize() : 0;
	if (result < 0) {
		fprintf(stderr, "brood: cannot detach: %s\n", log_strerror(result));
		return EXIT_STATUS_SYSTEM;
	}
	log_set_level(config->log_level);
	status = master_run(config, &master);
	/* Said already if the pools were ready. A stop before that is no success to whoever waits for them. */
	daemonize_report(status == EXIT_STATUS_OK ? EXIT_STATUS_START : status);
	return status;
}

/* Runs, with all that is needed to load the configuration again. */
static int run_from(const struct cli_options *options, const struct config *config,
	const struct config_overrides *overrides, const struct cli_context *context)
{
	char *file = absolute_path(options->config);
	const struct config_origin origin = { .file = file, .host = &host, .overrides = overrides };
	int status;

	if (!file) {
		fprintf(stderr, "brood: cannot start: %s\n", log_strerror(-ENOMEM));
		return EXIT_STATUS_SYSTEM;
	}
	status = run(options, config, &origin, context);
	free(file);
	return status;
}

static int with_config(const struct cli_options *options, const struct cli_context *context)
{
	const struct config_overrides overrides = {
		.pidfile = options->pidfile,
		.log_target = options->log_target,
		.log_level = options->log_level,
	};
	struct config *config =
		context->adoption->readable ? load_in_force(options, &overrides, context->adoption) : NULL;
	int status = config != NULL ? EXIT_STATUS_OK : load(options, &overrides, &config);

	if (status != EXIT_STATUS_OK) {
		adoption_again(context->adoption, context->image);
		return status;
	}
	switch (options->command) {
	case CLI_CHECK:
		printf("%s: OK\n", options->config);
		status = flush(stdout);
		break;
	case CLI_ADOPT_CHECK:
		status = answer_check(options);
		if (status == EXIT_STATUS_OK)
			status = flush(stdout);
		break;
	case CLI_DUMP:
		config_dump(config, stdout);
		status = flush(stdout);
		break;
	default:
		status = run_from(options, config, &overrides, context);
		break;
	}
	config_free(config);
	return status;
}

static int carry_out(const struct cli_options *options, struct image *image)
{
	struct adoption adoption;
	const struct cli_context context = { .image = image, .adoption = &adoption };
	int status;

	switch (options->command) {
	case CLI_VERSION:
		puts("brood " BROOD_VERSION);
		return flush(stdout);
	case CLI_HELP:
		options_usage(stdout);
		return flush(stdout);
	default:
		adoption_take(&adoption);
		/* The file may be another one again by now: what it is called was found out at the first start. */
		if (adoption.readable && adoption.master.binary[0] == '/')
			snprintf(image->path, sizeof(image->path), "%s", adoption.master.binary);
		status = with_config(options, &context);
		adoption_done(&adoption);
		return status;
	}
}

int cli_main(int argc, char **argv)
{
	struct image image;
	struct cli_options options;
	int result = fd_open_standard();
	int status;

	/* Whatever the parent ignores, as under nohup(1): children would be lost, and programs inherit it. */
	signals_heed();
	signals_end_first();
	if (result < 0) {
		fprintf(stderr, "brood: cannot open /dev/null: %s\n", log_strerror(result));
		return EXIT_STATUS_SYSTEM;
	}
	argv = title_init(argc, argv);
	result = image_record(&image, argv);
	if (result < 0) {
		fprintf(stderr, "brood: cannot find out how it was started: %s\n", log_strerror(result));
		return EXIT_STATUS_SYSTEM;
	}
	status = options_parse(argc, argv, &options) < 0 ? EXIT_STATUS_USAGE : carry_out(&options, &image);
	image_done(&image);
	return status;
}
