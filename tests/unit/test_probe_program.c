/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attrs.h"
#include "worker/probe_program.h"

#define NOBODY 65534

static char name[] = "test";
static char home[] = "/tmp/brood-program-XXXXXX";
static char program_path[256];
static struct pool_config pool = {
	.name = name, .program = {.path = program_path, .directory = home}
};
static char reason[512];

static void make_home(void)
{
	cr_assert_neq(mkdtemp(home), NULL);
	cr_assert_eq(chmod(home, 0755), 0);
}

static void remove_home(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", home);
	cr_assert_eq(system(command), 0);
}

TestSuite(probe_program, .init = make_home, .fini = remove_home);

static void make(const char *file, int mode, const void *data, size_t size)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", home, file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, size), (ssize_t)size);
	cr_assert_eq(fchmod(fd, (mode_t)mode), 0);
	close(fd);
}

static void make_text(const char *file, int mode, const char *format, ...) ATTR_PRINTF(3, 4);

static void make_text(const char *file, int mode, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	make(file, mode, text, (size_t)size);
}

static int look(const char *path)
{
	snprintf(program_path, sizeof(program_path), "%s", path);
	reason[0] = '\0';
	return probe_program(&pool, reason, sizeof(reason));
}

/* What the kernel says to it: 0 or a negative errno. */
static int execute(const char *path)
{
	char *const arguments[] = { program_path, NULL };
	int ends[2], error = 0;
	pid_t pid;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDERR_FILENO);
		error = chdir(home);
		execve(path, arguments, environ);
		error = -errno;
		_exit(write(ends[1], &error, sizeof(error)) < 0);
	}
	close(ends[1]);
	cr_assert_geq(read(ends[0], &error, sizeof(error)), 0);
	close(ends[0]);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	return error;
}

static void must_run(const char *path)
{
	cr_expect_eq(look(path), 0, "%s: %s", path, reason);
}

static void must_fail(const char *path, const char *text)
{
	cr_expect_eq(look(path), -EINVAL, "%s", path);
	cr_expect(fnmatch(text, reason, FNM_NOESCAPE) == 0, "%s, and not %s", reason, text);
}

/* The same, and the kernel agrees. */
static void must_run_indeed(const char *path)
{
	must_run(path);
	cr_expect_eq(execute(path), 0, "%s", path);
}

static void must_fail_indeed(const char *path, const char *text)
{
	must_fail(path, text);
	cr_expect_lt(execute(path), 0, "%s", path);
}

Test(probe_program, programs_and_scripts_that_run)
{
	make_text("script", 0755, "#!/bin/sh\nexit 0\n");
	make_text("blanks", 0755, "#! \t/bin/sh -e \n");
	make_text("no_newline", 0755, "#!/bin/sh");
	make_text("relative", 0755, "#!./script\n");
	make_text("argument", 0755, "#!/bin/sh %0300d\n", 0);
	must_run_indeed("/bin/true");
	must_run_indeed("script");
	must_run_indeed("./script");
	must_run_indeed("blanks");
	must_run_indeed("no_newline");
	must_run_indeed("relative");
	must_run_indeed("argument");
}

Test(probe_program, programs_that_do_not_run)
{
	char directory[300];

	make_text("plain", 0644, "#!/bin/sh\n");
	make_text("text", 0755, "hello\n");
	make("empty", 0755, "", 0);
	make_text("nothing", 0755, "#!\n");
	make_text("only_blanks", 0755, "#!  \t\n/bin/sh");
	make_text("missing", 0755, "#!/no/such/interpreter -x\n");
	make_text("dos", 0755, "#!/bin/sh\r\n");
	make_text("data", 0755, "#!%s/plain\n", home);
	make_text("long", 0755, "#!/%0300d\n", 0);
	snprintf(directory, sizeof(directory), "%s/directory", home);
	cr_assert_eq(mkdir(directory, 0755), 0);
	must_fail_indeed("/no/such/program", "does not exist");
	must_fail_indeed("/bin/true/program", "does not exist");
	must_fail_indeed("directory", "is not a regular file");
	must_fail_indeed("/dev/null", "is not a regular file");
	must_fail_indeed("plain", "is not executable: Permission denied");
	must_fail_indeed("text", "is neither a program nor a script with #! in its first line");
	must_fail_indeed("empty", "is empty");
	must_fail_indeed("nothing", "is a script that names no interpreter");
	must_fail_indeed("only_blanks", "is a script that names no interpreter");
	must_fail_indeed("missing", "is a script whose interpreter /no/such/interpreter does not exist");
	must_fail_indeed("dos", "is a script whose interpreter /bin/sh\\x0d does not exist");
	must_fail_indeed("long", "is a script whose first line is too long");
	must_fail_indeed("data", "is a script whose interpreter */plain is not executable: Permission denied");
}

Test(probe_program, a_script_of_scripts)
{
	make_text("s0", 0755, "#!/bin/true\n");
	for (int i = 1; i < 6; i++) {
		char file[8];

		snprintf(file, sizeof(file), "s%d", i);
		make_text(file, 0755, "#!%s/s%d\n", home, i - 1);
	}
	make_text("self", 0755, "#!%s/self\n", home);
	must_run_indeed("s3");
	must_run_indeed("s4");
	must_fail_indeed("self",
		"is a script whose interpreter * is a script whose interpreter is a script, and so on, too often");
	must_fail_indeed("s5",
		"is a script whose interpreter * is a script whose interpreter is a script, and so on, too often");
}

Test(probe_program, the_directory_is_looked_at_first)
{
	static char elsewhere[] = "/no/such/directory";

	pool.program.directory = elsewhere;
	must_fail("/bin/true", "cannot be started: directory /no/such/directory does not exist");
}

/* ---- ELF ---- */

struct elf {
	Elf64_Ehdr file;
	Elf64_Phdr segments[2];
	char interpreter[64];
};

static struct elf elf_of(const char *interpreter)
{
	struct elf elf = {
		.file = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
				__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB, EV_CURRENT },
			.e_type = ET_DYN,
			.e_phoff = offsetof(struct elf, segments),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.segments = {
			{ .p_type = PT_LOAD },
			{ .p_type = PT_INTERP, .p_offset = offsetof(struct elf, interpreter),
				.p_filesz = strlen(interpreter) + 1 },
		},
	};

	memcpy(elf.interpreter, interpreter, strlen(interpreter) + 1);
	return elf;
}

static void elf_must_fail(const struct elf *elf, size_t size, const char *text)
{
	make("elf", 0755, elf, size);
	must_fail_indeed("elf", text);
}

Test(probe_program, an_elf_file_and_its_interpreter)
{
	const char *strange = "is no program that this machine runs";
	struct elf elf = elf_of("/no/such/ld.so");

	elf_must_fail(&elf, sizeof(elf), "is a program whose interpreter /no/such/ld.so does not exist");
	elf = elf_of("/bin/sh");
	make("elf", 0755, &elf, sizeof(elf));
	must_run("elf"); /* the kernel wants segments of some size besides */
	elf_must_fail(&elf, sizeof(elf.file) - 20, strange);
	elf_must_fail(&elf, sizeof(elf.file) + 20, strange);
	elf_must_fail(&elf, offsetof(struct elf, interpreter) + 3,
		"is no program that this machine runs: the name of its interpreter is cut");
	elf.file.e_type = ET_REL;
	elf_must_fail(&elf, sizeof(elf), strange);
	elf = elf_of("/bin/sh");
	elf.file.e_ident[EI_DATA] = 3;
	elf_must_fail(&elf, sizeof(elf), strange);
	elf = elf_of("/bin/sh");
	elf.file.e_ident[EI_CLASS] = 7;
	elf_must_fail(&elf, sizeof(elf), strange);
	elf = elf_of("/bin/sh");
	elf.file.e_phoff = UINT64_MAX - 10;
	elf_must_fail(&elf, sizeof(elf), strange);
	elf = elf_of("/bin/sh");
	elf.segments[1].p_filesz = UINT64_MAX;
	elf_must_fail(&elf, sizeof(elf), "is no program that this machine runs: the name of its interpreter is cut");
	elf = elf_of("/bin/sh");
	elf.segments[1].p_offset = UINT64_MAX;
	elf_must_fail(&elf, sizeof(elf), "is no program that this machine runs: the name of its interpreter is cut");
}

/* ---- whose eyes ---- */

static void give_user(void)
{
	static gid_t groups[] = { NOBODY };
	static char user[] = "nobody";

	pool.identity = (struct identity){
		.change = true, .uid = NOBODY, .gid = NOBODY, .groups = groups, .group_count = 1, .user = user
	};
}

Test(probe_program, it_is_the_pools_user_who_looks)
{
	if (geteuid() != 0)
		return;
	give_user();
	make_text("roots", 0700, "#!/bin/sh\n");
	make_text("unreadable", 0711, "#!/no/such/interpreter\n");
	make_text("interpreter", 0700, "#!/bin/sh\n");
	make_text("script", 0755, "#!%s/interpreter\n", home);
	must_fail("roots", "is not executable for user nobody: Permission denied");
	must_run("unreadable");
	must_fail("script", "is a script whose interpreter * is not executable for user nobody: Permission denied");
	cr_assert_eq(chmod(home, 0700), 0);
	must_fail("/bin/true", "cannot be started: directory * cannot be entered for user nobody: Permission denied");
}

Test(probe_program, it_is_in_the_chroot_that_it_must_be)
{
	static char slash[] = "/";

	pool.chroot = home;
	pool.program.directory = slash;
	make_text("script", 0755, "#!/bin/sh\n");
	make_text("interpreter", 0755, "x");
	make_text("other", 0755, "#!/interpreter\n");
	must_fail("/bin/true", "does not exist in *");
	must_fail("/script", "is a script whose interpreter /bin/sh does not exist in *");
	must_fail("/other",
		"is a script whose interpreter /interpreter is neither a program nor a script with #! in its "
		"first line");
}
