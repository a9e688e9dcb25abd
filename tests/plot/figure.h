/* SPDX-License-Identifier: MIT */
#ifndef PLOT_FIGURE_H
#define PLOT_FIGURE_H
/*
 * A pool's size over time, as an SVG picture: panels one below the other, each a span of time; in each the clients and
 * the workers, and in a strip below them the queue. Of each column of the picture the highest value is drawn, so that
 * no peak is lost. Integers only: the same samples give the same text on every machine.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum figure_curve {
	CURVE_CLIENTS, /* that are there: served or waiting */
	CURVE_BUSY,    /* workers that serve one */
	CURVE_THERE,   /* all processes: those that start and those that leave, too */
	CURVE_READY,   /* workers that serve or wait for a client */
	CURVE_LOAD,    /* clients that would be in service if nobody had to wait, but for bursts; in thousandths */
	CURVE_QUEUE,   /* clients that wait */
	CURVES,
};

struct figure_sample {
	uint64_t at_ms;
	uint32_t value[CURVES];
};

/* From each sample's time to the next one's its values hold. The times never fall. */
struct figure_samples {
	struct figure_sample *row;
	size_t count, size;
};

struct figure_panel {
	const char *title;
	uint64_t from_ms, to_ms; /* to_ms == 0: no such panel */
};

#define FIGURE_PANELS_MAX 2

struct figure {
	const char *title;
	const char *what; /* one line below the title */
	struct figure_panel panels[FIGURE_PANELS_MAX];
};

/* Adds a sample; one of the same time as the last takes its place. */
void figure_sample(struct figure_samples *samples, const struct figure_sample *sample);
void figure_samples_done(struct figure_samples *samples);

void figure_write(FILE *file, const struct figure *figure, const struct figure_samples *samples);

#endif
