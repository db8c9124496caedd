#define _GNU_SOURCE
#include "nano_uring.h"

#include <stdlib.h>

// liburing maps its rings behind ThreadSanitizer's back, which takes two files' rings that stand at
// one address, one after the other, for a race.
#pragma clang attribute push(__attribute__((no_sanitize("thread"))), apply_to = function)
#include <liburing.h>

struct ns_uring {
    struct io_uring ring;
    int descriptor;
};

ns_uring *ns_uring_open(int descriptor, unsigned capacity) {
    ns_uring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return NULL;
    if (io_uring_queue_init(capacity, &ring->ring, 0) != 0) {
        free(ring);
        return NULL;
    }
    // Reads and writes of plain buffers came with the probe, in Linux 5.6.
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->ring);
    if (probe == NULL) {
        ns_uring_close(ring);
        return NULL;
    }
    io_uring_free_probe(probe);
    ring->descriptor = descriptor;
    return ring;
}

void ns_uring_close(ns_uring *ring) {
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

bool ns_uring_enter(
    ns_uring *ring, bool is_write, void *base, uint32_t byte_count, uint64_t offset,
    uint64_t number) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (entry == NULL) return false;
    if (is_write) {
        io_uring_prep_write(entry, ring->descriptor, base, byte_count, offset);
    } else {
        io_uring_prep_read(entry, ring->descriptor, base, byte_count, offset);
    }
    io_uring_sqe_set_data64(entry, number);
    return true;
}

int ns_uring_submit(ns_uring *ring) { return io_uring_submit(&ring->ring); }

int ns_uring_wait(ns_uring *ring, int64_t timeout_us) {
    struct __kernel_timespec limit = {timeout_us / 1000000, (timeout_us % 1000000) * 1000};
    struct io_uring_cqe *entry;
    return io_uring_wait_cqe_timeout(&ring->ring, &entry, &limit);
}

bool ns_uring_take(ns_uring *ring, uint64_t *number, int32_t *result) {
    struct io_uring_cqe *entry;
    if (io_uring_peek_cqe(&ring->ring, &entry) != 0) return false;
    *number = io_uring_cqe_get_data64(entry);
    *result = entry->res;
    io_uring_cqe_seen(&ring->ring, entry);
    return true;
}

#pragma clang attribute pop
