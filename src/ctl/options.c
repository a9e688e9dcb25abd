/* SPDX-License-Identifier: MIT */
#include "ctl/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>

enum argument_rule {
	ARGUMENT_NONE,
	ARGUMENT_OPTIONAL,
	ARGUMENT_NEEDED,
	ARGUMENT_NUMBER, /* and a number behind it */
};

static const size_t most_arguments[] = {
	[ARGUMENT_NONE] = 0, [ARGUMENT_OPTIONAL] = 1, [ARGUMENT_NEEDED] = 1, [ARGUMENT_NUMBER] = 2
};

/* A word of the command line. */
struct word {
	const char *name;
	enum argument_rule argument;
	const char *argument_name;
};

static const struct word words[] = {
	[CTL_STATUS] = {"status",   ARGUMENT_NONE,     ""    },
	[CTL_PS] = { "ps",      ARGUMENT_NONE,     ""    },
	[CTL_CHECK] = { "check",   ARGUMENT_OPTIONAL, "FILE"},
	[CTL_RELOAD] = { "reload",  ARGUMENT_NONE,     ""    },
	[CTL_UPGRADE] = { "upgrade", ARGUMENT_NONE,     ""    },
	[CTL_STOP] = { "stop",    ARGUMENT_NONE,     ""    },
	[CTL_RESTART] = { "restart", ARGUMENT_NEEDED,   "POOL"},
	[CTL_SCALE] = { "scale",   ARGUMENT_NUMBER,   "POOL"},
};
static_assert(ARRAY_SIZE(words) == CTL_VERSION, "each command but the options is a word");

enum { OPTION_NOW = 256 };

static const struct option long_options[] = {
	{"socket",   required_argument, NULL, 's'       },
	{ "json",    no_argument,       NULL, 'j'       },
	{ "now",     no_argument,       NULL, OPTION_NOW},
	{ "version", no_argument,       NULL, 'V'       },
	{ "help",    no_argument,       NULL, 'h'       },
	{ NULL,      0,                 NULL, 0         },
};

void ctl_options_usage(FILE *out)
{
	fputs("usage: broodctl [-s SOCKET] [-j] COMMAND\n"
	      "  status         the daemon, its pools and their listeners\n"
	      "  ps             its workers, and what each is doing\n"
	      "  check [FILE]   check the configuration, or another file, as the daemon would load it\n"
	      "  reload         load the configuration anew; waits for the verdict\n"
	      "  upgrade        go on with the binary that is on disk now; waits for the verdict\n"
	      "  stop [--now]   end the daemon, gracefully or at once; waits until it has gone\n"
	      "  restart POOL   replace the workers of a pool, a few at a time\n"
	      "  scale POOL N   have N workers in a pool until the next reload; +N more, -N fewer\n"
	      "  -s, --socket SOCKET  the control socket (default: the usual places)\n"
	      "  -j, --json     answer in JSON\n"
	      "  -V, --version  print the version and exit\n"
	      "  -h, --help     print this and exit\n"
	      "See broodctl(1).\n",
		out);
}

static int complain(const char *what, const char *about)
{
	fprintf(stderr, "broodctl: %s%s%s\nTry 'broodctl --help'.\n", about, about[0] ? ": " : "", what);
	return -EINVAL;
}

static int parse_option(int option, struct ctl_options *options)
{
	switch (option) {
	case 's':
		options->socket = optarg;
		return 0;
	case 'j':
		options->json = true;
		return 0;
	case OPTION_NOW:
		options->now = true;
		return 0;
	case 'V':
		options->command = CTL_VERSION;
		return 0;
	case 'h':
		options->command = CTL_HELP;
		return 0;
	default: /* getopt_long() has said what is wrong */
		fputs("Try 'broodctl --help'.\n", stderr);
		return -EINVAL;
	}
}

static enum ctl_command find_word(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i].name, name) == 0)
			return (enum ctl_command)i;
	return CTL_COMMANDS;
}

/* "4", "+1", "-1". */
static bool is_number(const char *text)
{
	text += *text == '+' || *text == '-';
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* A number that getopt_long() would take for options: it is taken out of ARGV. NULL: none. */
static const char *take_negative(int *argc, char **argv)
{
	for (int i = 1; i < *argc; i++) {
		char *text = argv[i];

		if (text[0] != '-' || !is_number(text))
			continue;
		memmove(argv + i, argv + i + 1, sizeof(*argv) * (size_t)(*argc - i));
		(*argc)--;
		return text;
	}
	return NULL;
}

/* The arguments of a word, of which argv[0] is the word, and NEGATIVE one more. Returns what is wrong with them. */
static const char *take_arguments(
	const struct word *word, char **argv, const char *negative, struct ctl_options *options)
{
	size_t count = 0;

	while (argv[count + 1] != NULL)
		count++;
	options->argument = count > 0 ? argv[1] : NULL;
	if (word->argument == ARGUMENT_NUMBER)
		options->number = count == 2 ? argv[2] : negative;
	if (options->argument == NULL && word->argument >= ARGUMENT_NEEDED)
		return "POOL is missing";
	if (count + (negative != NULL) > most_arguments[word->argument])
		return "too many arguments";
	if (word->argument == ARGUMENT_NUMBER && (options->number == NULL || !is_number(options->number)))
		return "how many workers? such as 4, +1 or -1";
	return NULL;
}

/* The words behind the options, of which getopt_long() has put all options before. */
static int parse_words(char **argv, const char *negative, struct ctl_options *options)
{
	const struct word *word;
	const char *wrong;

	if (argv[0] == NULL)
		return complain("a command is missing", "");
	options->command = find_word(argv[0]);
	if (options->command == CTL_COMMANDS)
		return complain("no such command", argv[0]);
	word = &words[options->command];
	wrong = take_arguments(word, argv, negative, options);
	if (wrong != NULL)
		return complain(wrong, argv[0]);
	/* A request is one line, and its argument is not nothing. */
	if (options->argument != NULL && (options->argument[0] == '\0' || strchr(options->argument, '\n') != NULL))
		return complain("cannot be asked for", word->argument_name);
	if (options->now && options->command != CTL_STOP)
		return complain("--now goes with stop only", argv[0]);
	return 0;
}

int ctl_options_parse(int argc, char **argv, struct ctl_options *ret_options)
{
	const char *negative = take_negative(&argc, argv);
	struct ctl_options options = { .command = CTL_COMMANDS };
	int result = 0;
	int option;

	while (result == 0 && (option = getopt_long(argc, argv, "s:jVh", long_options, NULL)) != -1)
		result = parse_option(option, &options);
	if (result == 0 && options.command == CTL_COMMANDS)
		result = parse_words(argv + optind, negative, &options);
	if (result == 0)
		*ret_options = options;
	return result;
}
