/* SPDX-License-Identifier: MIT */
#include "policy/share.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define CLAIMS_MAX 12

struct row {
	uint32_t total;
	struct share_claim claims[4]; /* with the share that is expected */
};

Test(policy_share, divides)
{
	static const struct row rows[] = {
  /* Enough for all. */
		{100, { { 1, 10, 10 }, { 5, 20, 20 } }              },
		{ 30, { { 1, 10, 10 }, { 5, 20, 20 } }              },
 /* Who wants little gets it; the others have equally many. */
		{ 24, { { 1, 20, 12 }, { 1, 20, 12 } }              },
		{ 24, { { 1, 4, 4 }, { 1, 20, 10 }, { 1, 30, 10 } } },
 /* The remainder goes to the first. */
		{ 25, { { 1, 20, 13 }, { 1, 20, 12 } }              },
 /* A least number beyond the equal share is had first. */
		{ 24, { { 16, 20, 16 }, { 0, 20, 4 }, { 0, 20, 4 } }},
		{ 24, { { 24, 30, 24 }, { 0, 5, 0 } }               },
 /* A wish below the least number. */
		{ 24, { { 10, 2, 10 }, { 0, 30, 14 } }              },
 /* The least numbers alone are too many. */
		{ 10, { { 8, 9, 5 }, { 8, 8, 5 } }                  },
		{ 0,  { { 0, 5, 0 }, { 2, 8, 0 } }                  },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct share_claim claims[4];

		for (size_t k = 0; k < 4; k++)
			claims[k] = (struct share_claim){ rows[i].claims[k].least, rows[i].claims[k].wish, 999 };
		share_divide(rows[i].total, claims, 4);
		for (size_t k = 0; k < 4; k++)
			cr_expect_eq(claims[k].share, rows[i].claims[k].share, "row %zu: claim %zu gets %u, not %u", i,
				k, claims[k].share, rows[i].claims[k].share);
	}
}

static uint64_t random_state = 1;

static uint32_t upto(uint32_t most)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % (most + 1);
}

/* What must hold of every division. */
static void check(uint32_t total, const struct share_claim *before, const struct share_claim *claims, size_t count)
{
	uint64_t sum = 0, least = 0, wishes = 0;
	uint32_t fewest = UINT32_MAX;

	for (size_t i = 0; i < count; i++)
		least += before[i].least;
	/* What is fair then is tried by the table. */
	if (least > total)
		return;
	for (size_t i = 0; i < count; i++) {
		uint32_t wish = before[i].wish < before[i].least ? before[i].least : before[i].wish;

		sum += claims[i].share;
		wishes += wish;
		cr_assert_leq(claims[i].share, wish, "nobody gets more than he wishes for");
		if (claims[i].share < wish && claims[i].share < fewest)
			fewest = claims[i].share;
	}
	cr_assert_eq(sum, wishes < total ? wishes : total, "nothing is left while somebody wants it");
	for (size_t i = 0; i < count; i++) {
		cr_assert(claims[i].share >= before[i].least, "each has its least number");
		if (fewest == UINT32_MAX)
			continue;
		/* Nobody could have one more without taking it from one who has not more than he. */
		cr_assert(claims[i].share <= fewest + 1 || claims[i].share == before[i].least,
			"%u where another has %u", claims[i].share, fewest);
	}
}

Test(policy_share, is_fair_whatever_is_wanted)
{
	for (int round = 0; round < 200000; round++) {
		struct share_claim before[CLAIMS_MAX], claims[CLAIMS_MAX];
		size_t count = upto(CLAIMS_MAX);
		uint32_t total = upto(upto(1) ? 64 : 1024);

		for (size_t i = 0; i < count; i++) {
			before[i] = (struct share_claim){ .least = upto(1) ? upto(8) : 0,
				.wish = upto(upto(1) ? 12 : 1024) };
			claims[i] = before[i];
		}
		share_divide(total, claims, count);
		check(total, before, claims, count);
	}
}
