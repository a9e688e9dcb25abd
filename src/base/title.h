/* SPDX-License-Identifier: MIT */
#ifndef BASE_TITLE_H
#define BASE_TITLE_H
/*
 * The process title, as ps(1) shows it. The text is written over the arguments and the environment that execve(2) put
 * at the top of the stack, so a longer title is cut to what they took.
 */

/*
 * Once, first thing in main(): finds the room, and moves the arguments and the environment out of it. Returns the moved
 * arguments, to be used from here on; environ(7) stays valid. Without memory titles are not set, and nothing is moved.
 */
char **title_init(int argc, char **argv);

/* Sets the title and the process's name (PR_SET_NAME, cut to 15 bytes). Does nothing before title_init(). */
void title_set(const char *title);

#endif
