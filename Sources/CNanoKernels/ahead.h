// What a matrix product asks for on behalf of another operation.
#pragma once

#include "nano_kernels.h"

// Asks for as many lines as `rows` x `inputs` of a panel pay for.
static inline void nk_ask(nk_ahead *ahead, int rows, int inputs) {
    enum { LINE = 64 };
    if (!ahead || ahead->run == ahead->run_count) return;
    ahead->credit += ahead->rate * rows * inputs;
    for (; ahead->credit >= NK_AHEAD_UNIT; ahead->credit -= NK_AHEAD_UNIT) {
        const nk_run *run = &ahead->runs[ahead->run];
        __builtin_prefetch(run->start + ahead->offset, 0, 2);
        ahead->offset += LINE;
        if (ahead->offset < run->bytes) continue;
        ahead->offset = 0;
        ahead->run++;
        if (ahead->run < ahead->run_count) continue;
        ahead->credit = 0;
        return;
    }
}

// A tile's share of what is asked for: so many lines at each of its stops, until none is left. A CPU
// foresees counts that hardly change, and not those of a credit that grows by fractions of a line.
typedef struct {
    int at_stop, left;
} nk_share;

static inline nk_share nk_share_of(int lines, int stops) {
    return (nk_share){.at_stop = (lines + stops - 1) / stops, .left = lines};
}

// The lines of the next stop.
static inline int nk_take(nk_share *share) {
    int lines = share->at_stop < share->left ? share->at_stop : share->left;
    share->left -= lines;
    return lines;
}

static inline nk_share nk_begin_share(nk_ahead *ahead, int rows, int inputs, int stops) {
    if (!ahead || ahead->run == ahead->run_count) return (nk_share){0};
    ahead->credit += ahead->rate * rows * inputs;
    int lines = (int)(ahead->credit / NK_AHEAD_UNIT);
    ahead->credit -= (int64_t)lines * NK_AHEAD_UNIT;
    return nk_share_of(lines, stops);
}

static inline void nk_ask_share(nk_ahead *ahead, nk_share *share) {
    enum { LINE = 64 };
    int lines = nk_take(share);
    if (lines == 0) return;
    const nk_run *run = &ahead->runs[ahead->run];
    const char *line = run->start + ahead->offset;
    // Past the end of a run it does no harm.
    for (int i = 0; i < lines; i++, line += LINE) __builtin_prefetch(line, 0, 2);
    ahead->offset += (ptrdiff_t)lines * LINE;
    if (ahead->offset < run->bytes) return;
    ahead->offset = 0;
    if (++ahead->run == ahead->run_count) share->left = 0;
}
