/* SPDX-License-Identifier: MIT */
/* What must hold of every division (policy/share.h), over claims drawn by chance; and it is the one that comes out
 * where workers are handed out one by one. */
#include <criterion/criterion.h>
#include <string.h>

#include "policy/share.h"
#include "simulator.h"

#define CLAIMS_MAX 12
#define ROUNDS     20000

struct division {
	uint32_t total;
	size_t count;
	struct share_claim claims[CLAIMS_MAX];
};

static uint32_t draw(uint64_t *random, uint64_t most)
{
	return (uint32_t)((sim_random(random) >> 11) % (most + 1));
}

/* Now and then the least numbers alone are too much, or there is more than enough, or a wish is below its least. */
static void draw_division(uint64_t *random, struct division *ret_division)
{
	uint32_t most = 1 + draw(random, draw(random, 2) == 0 ? 3 : 200);

	ret_division->total = draw(random, 4 * most);
	ret_division->count = draw(random, CLAIMS_MAX);
	for (size_t i = 0; i < ret_division->count; i++)
		ret_division->claims[i] = (struct share_claim){
			.least = draw(random, 3) == 0 ? 0 : draw(random, most / 2),
			.wish = draw(random, most),
		};
}

static uint32_t wish_of(const struct share_claim *claim)
{
	return claim->wish > claim->least ? claim->wish : claim->least;
}

static uint64_t sum_least(const struct division *division)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < division->count; i++)
		sum += division->claims[i].least;
	return sum;
}

/* Who gets the next one: of those that are not given what they wish, the one that has the fewest. */
static size_t find_poorest(const struct division *division, const uint32_t *wish, const uint32_t *share)
{
	size_t poorest = division->count;

	for (size_t i = 0; i < division->count; i++)
		if (share[i] < wish[i] && (poorest == division->count || share[i] < share[poorest]))
			poorest = i;
	return poorest;
}

static void divide_one_by_one(const struct division *division, uint32_t *ret_share)
{
	bool scarce = sum_least(division) > division->total;
	uint32_t wish[CLAIMS_MAX];
	uint64_t left = division->total;
	size_t poorest;

	for (size_t i = 0; i < division->count; i++) {
		wish[i] = scarce ? division->claims[i].least : wish_of(&division->claims[i]);
		ret_share[i] = scarce ? 0 : division->claims[i].least;
		left -= ret_share[i];
	}
	while (left > 0 && (poorest = find_poorest(division, wish, ret_share)) < division->count) {
		ret_share[poorest]++;
		left--;
	}
}

static void check_sum(const struct division *given, const struct division *divided, unsigned int round)
{
	uint64_t wishes = 0, shares = 0;

	for (size_t i = 0; i < given->count; i++) {
		wishes += wish_of(&given->claims[i]);
		shares += divided->claims[i].share;
	}
	cr_assert_eq(shares, wishes < given->total ? wishes : given->total, "round %u", round);
}

/* Nobody who could give one away has more, by more than the remainder's one, than somebody who wants another. */
static void check_fair(const struct division *given, const struct division *divided, unsigned int round)
{
	bool scarce = sum_least(given) > given->total;

	for (size_t i = 0; i < given->count; i++) {
		const struct share_claim *poor = &given->claims[i];
		uint32_t share = divided->claims[i].share;
		uint32_t wish = scarce ? poor->least : wish_of(poor);

		cr_assert_leq(share, wish, "round %u, claim %zu", round, i);
		cr_assert(scarce || share >= poor->least, "round %u, claim %zu", round, i);
		for (size_t k = 0; k < given->count && share < wish; k++) {
			uint32_t rich = divided->claims[k].share;

			if (rich > (scarce ? 0 : given->claims[k].least))
				cr_assert_leq(rich, share + 1, "round %u, claims %zu and %zu", round, k, i);
		}
	}
}

/* One worker more for all takes nothing from anybody. */
static void check_monotonous(const struct division *given, const struct division *divided, unsigned int round)
{
	struct division more = *given;
	bool becomes_enough = sum_least(given) == UINT64_C(1) + given->total;

	more.total++;
	share_divide(more.total, more.claims, more.count);
	for (size_t i = 0; i < given->count; i++)
		cr_assert(becomes_enough || more.claims[i].share >= divided->claims[i].share, "round %u, claim %zu",
			round, i);
}

Test(policy_share_random, divides_as_one_by_one)
{
	uint64_t random = 1;
	unsigned int scarce = 0, enough = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct division given, divided;
		uint32_t share[CLAIMS_MAX] = { 0 };

		draw_division(&random, &given);
		divided = given;
		share_divide(divided.total, divided.claims, divided.count);
		divide_one_by_one(&given, share);
		check_sum(&given, &divided, round);
		check_fair(&given, &divided, round);
		check_monotonous(&given, &divided, round);
		for (size_t i = 0; i < given.count; i++)
			cr_assert_eq(divided.claims[i].share, share[i], "round %u, claim %zu: %u and not %u", round, i,
				divided.claims[i].share, share[i]);
		scarce += sum_least(&given) > given.total;
		enough += sum_least(&given) * 2 < given.total;
	}
	cr_expect_gt(scarce, 1000);
	cr_expect_gt(enough, 1000);
}

/* Of the largest numbers there may be. */
Test(policy_share_random, divides_without_overflow)
{
	struct share_claim claims[] = {
		{.least = 0,           .wish = UINT32_MAX},
		{ .least = UINT32_MAX, .wish = UINT32_MAX},
		{ .least = 1,          .wish = UINT32_MAX},
	};
	uint64_t sum;

	share_divide(UINT32_MAX, claims, 3);
	sum = (uint64_t)claims[0].share + claims[1].share + claims[2].share;
	cr_expect_eq(sum, UINT32_MAX);
}
