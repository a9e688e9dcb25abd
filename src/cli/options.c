/* SPDX-License-Identifier: MIT */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/logger.h"
#include "build_config.h"

#define DEFAULT_CONFIG BROOD_SYSCONFDIR "/brood/brood.conf"

/* For the program itself: it stands in no usage. */
#define OPTION_ADOPT_CHECK 256

static const struct option long_options[] = {
	{"config",       required_argument, NULL, 'c'               },
	{ "check",       no_argument,       NULL, 't'               },
	{ "dump",        no_argument,       NULL, 'T'               },
	{ "daemonize",   no_argument,       NULL, 'd'               },
	{ "pidfile",     required_argument, NULL, 'p'               },
	{ "log-level",   required_argument, NULL, 'l'               },
	{ "log-target",  required_argument, NULL, 'L'               },
	{ "version",     no_argument,       NULL, 'V'               },
	{ "help",        no_argument,       NULL, 'h'               },
	{ "adopt-check", required_argument, NULL, OPTION_ADOPT_CHECK},
	{ NULL,          0,                 NULL, 0                 },
};

void options_usage(FILE *out)
{
	fputs("usage: brood [-c FILE] [-t | -T] [-d] [-p PIDFILE] [-l LEVEL] [-L TARGET] [-V] [-h]\n"
	      "  -c, --config FILE      the configuration (default " DEFAULT_CONFIG ")\n"
	      "  -t, --check            check the file, say OK or every error, and exit\n"
	      "  -T, --dump             the same, and print the whole effective configuration\n"
	      "  -d, --daemonize        detach; returns when every pool is ready, or the start failed\n"
	      "  -p, --pidfile FILE     write the master's pid to FILE, and lock it\n"
	      "  -l, --log-level LEVEL  error, warning, notice, info or debug\n"
	      "  -L, --log-target TARGET  auto, stderr, syslog, journal, or the absolute path of a file\n"
	      "  -V, --version          print the version and exit\n"
	      "  -h, --help             print this and exit\n"
	      "See brood(8) and brood.conf(5).\n",
		out);
}

static int parse_level(const char *name, struct cli_options *options)
{
	enum log_level level;

	if (log_level_parse(name, &level) < 0) {
		fprintf(stderr, "brood: --log-level %s: is not one of error, warning, notice, info, debug\n", name);
		return -EINVAL;
	}
	options->log_level = (int)level;
	return 0;
}

static int parse_target(const char *name, struct cli_options *options)
{
	enum log_target target;

	if (log_target_parse(name, &target) < 0) {
		fprintf(stderr,
			"brood: --log-target %s: is not one of auto, stderr, syslog, journal, or an absolute path\n",
			name);
		return -EINVAL;
	}
	options->log_target = name;
	return 0;
}

static int parse_state_fd(const char *text, struct cli_options *options)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || fd < 0 || fd > INT_MAX) {
		fprintf(stderr, "brood: --adopt-check %s: is not a descriptor\n", text);
		return -EINVAL;
	}
	options->command = CLI_ADOPT_CHECK;
	options->state_fd = (int)fd;
	return 0;
}

static int parse_option(int option, struct cli_options *options)
{
	switch (option) {
	case 'c':
		options->config = optarg;
		return 0;
	case 't':
		options->command = CLI_CHECK;
		return 0;
	case 'T':
		options->command = CLI_DUMP;
		return 0;
	case 'd':
		options->daemonize = true;
		return 0;
	case 'p':
		options->pidfile = optarg;
		return 0;
	case 'l':
		return parse_level(optarg, options);
	case 'L':
		return parse_target(optarg, options);
	case 'V':
		options->command = CLI_VERSION;
		return 0;
	case 'h':
		options->command = CLI_HELP;
		return 0;
	case OPTION_ADOPT_CHECK:
		return parse_state_fd(optarg, options);
	default: /* getopt_long() has said what is wrong */
		return -EINVAL;
	}
}

int options_parse(int argc, char **argv, struct cli_options *ret_options)
{
	struct cli_options options = { .command = CLI_RUN, .config = DEFAULT_CONFIG, .log_level = -1 };
	int result = 0;
	int option;

	while (result == 0 && (option = getopt_long(argc, argv, "c:tTdp:l:L:Vh", long_options, NULL)) != -1)
		result = parse_option(option, &options);
	if (result == 0 && optind < argc) {
		fprintf(stderr, "brood: %s: no such argument; all are options\n", argv[optind]);
		result = -EINVAL;
	}
	if (result < 0) {
		fputs("Try 'brood --help'.\n", stderr);
		return result;
	}
	*ret_options = options;
	return 0;
}
