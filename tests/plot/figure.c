/* SPDX-License-Identifier: MIT */
#include "figure.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/attrs.h"

/* Coordinates are tenths of the picture's units. */
#define UNIT       10
#define WIDTH      856
#define LEFT       52
#define COLUMNS    760
#define LEGEND     66
#define LEGEND_ROW 3
#define HEAD       102
#define TITLE      22
#define CHART      210
#define GAP        16
#define STRIP      64
#define FOOT       38
#define PANEL      (TITLE + CHART + GAP + STRIP + FOOT)
#define TICKS_Y    5
#define TICKS_X    10
#define THOUSAND   1000

void figure_sample(struct figure_samples *samples, const struct figure_sample *sample)
{
	if (samples->count > 0 && samples->row[samples->count - 1].at_ms == sample->at_ms)
		samples->count--;
	if (samples->count == samples->size) {
		samples->size = samples->size == 0 ? 1024 : 2 * samples->size;
		samples->row = (struct figure_sample *)realloc(samples->row, samples->size * sizeof(*samples->row));
		if (samples->row == NULL)
			abort();
	}
	samples->row[samples->count++] = *sample;
}

void figure_samples_done(struct figure_samples *samples)
{
	free(samples->row);
	*samples = (struct figure_samples){ 0 };
}

/* ---- how it looks ---- */

struct look {
	const char *name; /* the class */
	const char *light, *dark;
};

static const struct look texts = { "t", "#1f2328", "#e6edf3" };
static const struct look fainter_texts = { "f", "#59636e", "#9198a1" };
static const struct look grounds = { "g", "#ffffff", "#0d1117" };
static const struct look grids = { "r", "#d8dee4", "#2b323b" };

struct curve_look {
	struct look look;
	const char *label;
	const char *dashes; /* NULL: none */
	const char *width;
	uint32_t scale; /* so many of the value are one */
	bool area;
};

static const struct curve_look curves[] = {
	[CURVE_CLIENTS] = {{ "cc", "#f7b8b1", "#7d2622" },  "clients, served or waiting",           NULL,  "0",   1,        true },
	[CURVE_BUSY] = { { "cb", "#6cb0f5", "#1f6feb" }, "busy workers",                         NULL,  "0",   1,        true },
	[CURVE_THERE] = { { "ct", "#bc6c00", "#d29922" }, "all workers, starting or leaving too", "2 2", "1.2", 1,
			   false												 },
	[CURVE_READY] = { { "cr", "#116329", "#3fb950" }, "workers, busy and idle",               NULL,  "1.8", 1,        false},
	[CURVE_LOAD] = { { "cl", "#8250df", "#c297ff" }, "load, without bursts",                 "5 3", "1.6", THOUSAND, false},
	[CURVE_QUEUE] = { { "cq", "#cf222e", "#f85149" }, "clients in the queue (below)",         NULL,  "0",   1,        true },
};
static_assert(ARRAY_SIZE(curves) == CURVES, "a look for each curve");

/* Colours stand as attributes, which every viewer knows; one that prefers the dark has them replaced. */
static void write_dark(FILE *file, const struct look *look, const char *property)
{
	fprintf(file, " .%s { %s: %s }", look->name, property, look->dark);
}

static void write_style(FILE *file)
{
	fprintf(file, "<style>@media (prefers-color-scheme: dark) {");
	write_dark(file, &texts, "fill");
	write_dark(file, &fainter_texts, "fill");
	write_dark(file, &grounds, "fill");
	write_dark(file, &grids, "stroke");
	for (enum figure_curve i = 0; i < CURVES; i++)
		write_dark(file, &curves[i].look, curves[i].area ? "fill" : "stroke");
	fprintf(file, " }</style>\n");
}

/* ---- pieces; x and y in units ---- */

static void write_text(FILE *file, const struct look *look, uint32_t x, uint32_t y, const char *anchor,
	const char *size, const char *text)
{
	fprintf(file,
		"<text class=\"%s\" fill=\"%s\" x=\"%u\" y=\"%u\" text-anchor=\"%s\" font-size=\"%s\">%s</text>\n",
		look->name, look->light, x, y, anchor, size, text);
}

static void write_line(FILE *file, const struct look *look, uint32_t x1, uint32_t y1, uint32_t x2, uint32_t y2)
{
	fprintf(file, "<line class=\"%s\" stroke=\"%s\" x1=\"%u.5\" y1=\"%u.5\" x2=\"%u.5\" y2=\"%u.5\"/>\n",
		look->name, look->light, x1, y1, x2, y2);
}

/* ---- axes ---- */

/* 1, 2 or 5 times a power of ten, so that at most MOST steps make up SPAN. */
static uint64_t nice_step(uint64_t span, uint64_t most)
{
	for (uint64_t power = 1;; power *= 10)
		for (uint64_t i = 1; i <= 5; i += i == 1 ? 1 : 3)
			if (i * power * most >= span)
				return i * power;
}

/* How a value is drawn: TOP is of the highest one, HIGHEST the axis's. */
struct scale {
	uint32_t top, height;
	uint32_t highest;
};

static struct scale make_scale(uint32_t top, uint32_t height, uint32_t highest)
{
	uint32_t step = (uint32_t)nice_step(highest > 0 ? highest : 1, TICKS_Y);

	return (struct scale){ top, height, (highest / step + 1) * step };
}

/* In tenths. */
static uint32_t scale_y(const struct scale *scale, uint64_t value, uint64_t of)
{
	uint64_t up = (value * scale->height * UNIT + of * scale->highest / 2) / (of * scale->highest);

	return (scale->top + scale->height) * UNIT - (uint32_t)up;
}

static void write_y_axis(FILE *file, const struct scale *scale, uint32_t ticks)
{
	uint32_t step = (uint32_t)nice_step(scale->highest, ticks);
	char number[24];

	for (uint32_t value = 0; value <= scale->highest; value += step) {
		uint32_t y = scale_y(scale, value, 1) / UNIT;

		write_line(file, &grids, LEFT, y, LEFT + COLUMNS, y);
		snprintf(number, sizeof(number), "%u", value);
		write_text(file, &fainter_texts, LEFT - 6, y + 4, "end", "11", number);
	}
}

static void write_x_axis(FILE *file, const struct figure_panel *panel, uint32_t top, uint32_t bottom)
{
	uint64_t span_ms = panel->to_ms - panel->from_ms;
	uint64_t step_ms = nice_step(span_ms, TICKS_X);
	uint64_t first_ms = (panel->from_ms + step_ms - 1) / step_ms * step_ms;
	char number[32];

	for (uint64_t at_ms = first_ms; at_ms <= panel->to_ms; at_ms += step_ms) {
		uint32_t x = LEFT + (uint32_t)((at_ms - panel->from_ms) * COLUMNS / span_ms);

		write_line(file, &grids, x, top, x, bottom);
		if (step_ms % THOUSAND == 0)
			snprintf(number, sizeof(number), "%llu s", (unsigned long long)(at_ms / THOUSAND));
		else
			snprintf(number, sizeof(number), "%llu ms", (unsigned long long)at_ms);
		write_text(file, &fainter_texts, x, bottom + 16, "middle", "11", number);
	}
}

/* ---- curves ---- */

/* The highest value of CURVE in each column of PANEL. */
static void find_columns(const struct figure_samples *samples, const struct figure_panel *panel,
	enum figure_curve curve, uint32_t column[COLUMNS])
{
	uint64_t span_ms = panel->to_ms - panel->from_ms;
	size_t next = 0;

	for (uint32_t i = 0; i < COLUMNS; i++) {
		uint64_t from_ms = panel->from_ms + i * span_ms / COLUMNS;
		uint64_t to_ms = panel->from_ms + (i + 1) * span_ms / COLUMNS;

		while (next < samples->count && samples->row[next].at_ms <= from_ms)
			next++;
		column[i] = next == 0 ? 0 : samples->row[next - 1].value[curve];
		for (size_t k = next; k < samples->count && samples->row[k].at_ms < to_ms; k++)
			if (samples->row[k].value[curve] > column[i])
				column[i] = samples->row[k].value[curve];
	}
}

static uint32_t find_highest(const struct figure_samples *samples, enum figure_curve curve)
{
	uint32_t highest = 0;

	for (size_t i = 0; i < samples->count; i++)
		if (samples->row[i].value[curve] > highest)
			highest = samples->row[i].value[curve];
	return (highest + curves[curve].scale - 1) / curves[curve].scale;
}

static void write_tenths(FILE *file, uint32_t tenths)
{
	fprintf(file, tenths % UNIT == 0 ? "%u" : "%u.%u", tenths / UNIT, tenths % UNIT);
}

/* Steps: each column's value from its left edge to its right one. */
static void write_curve(FILE *file, const struct figure_samples *samples, const struct figure_panel *panel,
	const struct scale *scale, enum figure_curve curve)
{
	static uint32_t column[COLUMNS];
	const struct curve_look *look = &curves[curve];
	uint32_t zero = scale->top + scale->height;
	uint32_t y;

	find_columns(samples, panel, curve, column);
	y = scale_y(scale, column[0], look->scale);
	fprintf(file, "<path class=\"%s\" ", look->look.name);
	if (look->area)
		fprintf(file, "fill=\"%s\" d=\"M%u %uV", look->look.light, LEFT, zero);
	else
		fprintf(file, "fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" %s%s%sd=\"M%u ", look->look.light,
			look->width, look->dashes == NULL ? "" : "stroke-dasharray=\"",
			look->dashes == NULL ? "" : look->dashes, look->dashes == NULL ? "" : "\" ", LEFT);
	write_tenths(file, y);
	for (uint32_t i = 1; i < COLUMNS; i++) {
		uint32_t next = scale_y(scale, column[i], look->scale);

		if (next == y)
			continue;
		fprintf(file, "H%uV", LEFT + i);
		write_tenths(file, y = next);
	}
	fprintf(file, "H%u", LEFT + COLUMNS);
	if (look->area)
		fprintf(file, "V%uZ", zero);
	fprintf(file, "\"/>\n");
}

/* ---- the picture ---- */

static void write_legend(FILE *file)
{
	for (enum figure_curve i = 0; i < CURVES; i++) {
		const struct curve_look *look = &curves[i];
		uint32_t x = LEFT + i % LEGEND_ROW * (COLUMNS / LEGEND_ROW);
		uint32_t y = LEGEND + i / LEGEND_ROW * 18;

		fprintf(file, "<path class=\"%s\" ", look->look.name);
		if (look->area)
			fprintf(file, "fill=\"%s\" d=\"M%u %uh24v10h-24Z\"/>\n", look->look.light, x, y - 9);
		else
			fprintf(file, "stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"M%u %uh24\"/>\n",
				look->look.light, look->dashes == NULL ? "none" : look->dashes, x, y - 4);
		write_text(file, &texts, x + 30, y, "start", "12", look->label);
	}
}

static void write_panel(
	FILE *file, const struct figure_panel *panel, const struct figure_samples *samples, uint32_t top)
{
	uint32_t highest = 0;
	struct scale chart, strip;

	for (enum figure_curve i = 0; i < CURVE_QUEUE; i++)
		if (find_highest(samples, i) > highest)
			highest = find_highest(samples, i);
	chart = make_scale(top + TITLE, CHART, highest);
	strip = make_scale(top + TITLE + CHART + GAP, STRIP, find_highest(samples, CURVE_QUEUE));
	write_text(file, &texts, LEFT, top + 13, "start", "12", panel->title);
	write_x_axis(file, panel, chart.top, strip.top + STRIP);
	write_y_axis(file, &chart, TICKS_Y);
	write_y_axis(file, &strip, 2);
	for (enum figure_curve i = 0; i < CURVE_QUEUE; i++)
		write_curve(file, samples, panel, &chart, i);
	write_curve(file, samples, panel, &strip, CURVE_QUEUE);
}

void figure_write(FILE *file, const struct figure *figure, const struct figure_samples *samples)
{
	uint32_t panels = 0;
	uint32_t height;

	while (panels < FIGURE_PANELS_MAX && figure->panels[panels].to_ms > 0)
		panels++;
	height = HEAD + panels * PANEL;
	fprintf(file,
		"<!-- SPDX-License-Identifier: MIT -->\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u "
		"%u\" width=\"%u\" height=\"%u\" "
		"role=\"img\" "
		"font-family=\"system-ui, sans-serif\">\n"
		"<title>%s</title>\n<desc>%s</desc>\n",
		WIDTH, height, WIDTH, height, figure->title, figure->what);
	write_style(file);
	fprintf(file, "<rect class=\"%s\" fill=\"%s\" width=\"%u\" height=\"%u\"/>\n", grounds.name, grounds.light,
		WIDTH, height);
	write_text(file, &texts, LEFT, 24, "start", "16", figure->title);
	write_text(file, &fainter_texts, LEFT, 43, "start", "12", figure->what);
	write_legend(file);
	for (uint32_t i = 0; i < panels; i++)
		write_panel(file, &figure->panels[i], samples, HEAD + i * PANEL);
	fprintf(file, "</svg>\n");
}
