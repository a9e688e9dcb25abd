/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include "simulator.h"

/* On a slope the rate is taken anew so often. */
#define SLOPE_MS 100

static uint64_t draw(struct crowd *crowd, uint64_t most)
{
	return (sim_random(&crowd->random) >> 11) % (most + 1);
}

static const struct crowd_point *point_before(const struct crowd *crowd)
{
	return crowd->next_point == 0 ? NULL : &crowd->load->points[crowd->next_point - 1];
}

static const struct crowd_point *point_after(const struct crowd *crowd)
{
	return crowd->next_point == crowd->load->count ? NULL : &crowd->load->points[crowd->next_point];
}

/* AT: of the curve, between the points before and after it. */
static uint64_t load_between(const struct crowd_point *before, const struct crowd_point *after, uint64_t at_ms)
{
	uint64_t span_ms, gone_ms;

	if (before == NULL)
		return 0;
	if (after == NULL || after->at_ms == before->at_ms)
		return before->clients * UINT64_C(1000);
	span_ms = after->at_ms - before->at_ms;
	gone_ms = at_ms - before->at_ms;
	return (before->clients * (span_ms - gone_ms) + after->clients * gone_ms) * 1000 / span_ms;
}

uint64_t crowd_load_now(const struct crowd *crowd, uint64_t now_ms)
{
	const struct crowd_load *load = crowd->load;
	size_t next = 0;
	uint64_t at_ms;

	if (load->count == 0)
		return 0;
	/* The next one may be one of the next round already. */
	at_ms = now_ms - crowd->begin_ms + (now_ms < crowd->begin_ms ? load->points[load->count - 1].at_ms : 0);

	while (next < load->count && load->points[next].at_ms <= at_ms)
		next++;
	return load_between(
		next == 0 ? NULL : &load->points[next - 1], next == load->count ? NULL : &load->points[next], at_ms);
}

/* Those that come one by one: on average one for each so much of the curve's area. */
static void draw_gap(struct crowd *crowd)
{
	uint64_t area = UINT64_C(1000) * crowd->load->service_ms;

	crowd->left += crowd->load->even ? (int64_t)area : 1 + (int64_t)draw(crowd, 2 * area);
}

/* The next point is reached. False: there is none, and the load will never change. */
static bool pass_point(struct crowd *crowd)
{
	const struct crowd_point *point = point_after(crowd);

	if (point != NULL) {
		crowd->counted_ms = crowd->begin_ms + point->at_ms;
		crowd->burst += point->burst;
		crowd->next_point++;
		return true;
	}
	if (!crowd->load->repeats || crowd->counted_ms == crowd->begin_ms)
		return false;
	crowd->begin_ms = crowd->counted_ms;
	crowd->next_point = 0;
	return true;
}

/* How far the rate may be taken for constant: to the next point, and on a slope not even there. */
static uint64_t find_bend(const struct crowd *crowd)
{
	const struct crowd_point *before = point_before(crowd), *after = point_after(crowd);
	uint64_t rest_ms;

	if (after == NULL)
		return crowd->load->repeats ? 0 : CROWD_NEVER;
	rest_ms = crowd->begin_ms + after->at_ms - crowd->counted_ms;
	return before != NULL && before->clients != after->clients && rest_ms > SLOPE_MS ? SLOPE_MS : rest_ms;
}

/* Follows the curve to the next bend, or to where somebody comes before. False: nobody ever does. */
static bool follow_curve(struct crowd *crowd)
{
	uint64_t at_ms = crowd->counted_ms - crowd->begin_ms;
	uint64_t rate = load_between(point_before(crowd), point_after(crowd), at_ms);
	uint64_t bend_ms = find_bend(crowd);
	uint64_t come_ms = rate == 0 ? CROWD_NEVER : ((uint64_t)crowd->left + rate - 1) / rate;
	uint64_t step_ms = come_ms < bend_ms ? come_ms : bend_ms;

	if (step_ms == CROWD_NEVER || step_ms == 0)
		return pass_point(crowd);
	crowd->left -= (int64_t)(step_ms * rate);
	crowd->counted_ms += step_ms;
	return true;
}

static void find_next(struct crowd *crowd)
{
	while (crowd->burst == 0 && crowd->left > 0)
		if (!follow_curve(crowd)) {
			crowd->next_ms = CROWD_NEVER;
			return;
		}
	crowd->next_ms = crowd->counted_ms;
}

void crowd_begin(struct crowd *crowd, uint64_t now_ms)
{
	crowd->begin_ms = now_ms;
	crowd->counted_ms = now_ms;
	crowd->next_point = 0;
	crowd->burst = 0;
	crowd->left = 0;
	draw_gap(crowd);
	find_next(crowd);
}

void crowd_init(struct crowd *crowd, const struct crowd_load *load, uint64_t now_ms, uint64_t seed)
{
	*crowd = (struct crowd){
		.load = load,
		.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1,
	};
	crowd_begin(crowd, now_ms);
}

/* One comes; where the queue is full it is turned away. */
static void come_one(struct crowd *crowd)
{
	uint32_t service_ms = crowd->load->service_ms;
	struct crowd_client client = {
		.came_ms = crowd->next_ms,
		.service_ms = crowd->load->even ? service_ms : service_ms / 2 + (uint32_t)draw(crowd, service_ms),
	};

	if (crowd->burst > 0)
		crowd->burst--;
	else
		draw_gap(crowd);
	crowd->came++;
	if (crowd->waiting == CROWD_QUEUE_MAX) {
		crowd->refused++;
		return;
	}
	crowd->queue[(crowd->first + crowd->waiting) % CROWD_QUEUE_MAX] = client;
	crowd->waiting++;
}

void crowd_come(struct crowd *crowd, uint64_t now_ms)
{
	while (crowd->next_ms <= now_ms) {
		come_one(crowd);
		find_next(crowd);
	}
}

uint64_t crowd_take(struct crowd *crowd, uint64_t now_ms)
{
	const struct crowd_client *client = &crowd->queue[crowd->first];
	uint64_t waited_ms = now_ms - client->came_ms;

	if (waited_ms > crowd->longest_wait_ms)
		crowd->longest_wait_ms = waited_ms;
	crowd->first = (crowd->first + 1) % CROWD_QUEUE_MAX;
	crowd->waiting--;
	crowd->taken++;
	return client->service_ms == 0 ? 1 : client->service_ms;
}
