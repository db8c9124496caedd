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
