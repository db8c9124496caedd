// Reads and writes of one file through io_uring. Not through liburing's own header: it asks the C
// library for other forms of its types than Swift's Foundation does.
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct ns_uring ns_uring;

// NULL where the system does not allow io_uring, or has it without plain reads and writes.
ns_uring *ns_uring_open(int descriptor, unsigned capacity);
void ns_uring_close(ns_uring *ring);

// Enters a transfer; false when `capacity` of them have not been submitted yet.
bool ns_uring_enter(
    ns_uring *ring, bool is_write, void *base, uint32_t byte_count, uint64_t offset,
    uint64_t number);
// Gives what was entered to the kernel; negative: an error number.
int ns_uring_submit(ns_uring *ring);
// Waits until a transfer has ended; negative: an error number, -ETIME after timeout_us.
int ns_uring_wait(ns_uring *ring, int64_t timeout_us);
// Takes a transfer that has ended, with its bytes or its negative error number; false without one.
bool ns_uring_take(ns_uring *ring, uint64_t *number, int32_t *result);
