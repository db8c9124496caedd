// Thin shims over Linux calls that Swift cannot make itself (variadic or macro-made).
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Sleeps while *word == expected; may return early. timeout in microseconds, negative: none.
void ns_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_us);
void ns_futex_wake_all(const uint32_t *word);

// The CPUs that this thread may run on, ascending; returns how many there are (up to capacity).
int ns_allowed_cpus(int *cpus, int capacity);
// Pins the calling thread; false when the kernel refuses.
bool ns_pin_to_cpu(int cpu);
void ns_name_thread(const char *name);

// Moves the open file's bytes past the page cache or through it; false when the kernel refuses.
bool ns_set_direct(int descriptor, bool is_direct);

// A hint to the core that this is a spin loop.
static inline void ns_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
