/* SPDX-License-Identifier: MIT */
/* argv in, exit code out. */
int main(void)
{
	return 0;
}
