#define _GNU_SOURCE
#include "nano_system.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void ns_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_us) {
    struct timespec limit = {timeout_us / 1000000, (timeout_us % 1000000) * 1000};
    syscall(
        SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_us < 0 ? NULL : &limit, NULL, 0);
}

void ns_futex_wake_all(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

int ns_allowed_cpus(int *cpus, int capacity) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < capacity; cpu++) {
        if (CPU_ISSET(cpu, &set)) cpus[count++] = cpu;
    }
    return count;
}

bool ns_pin_to_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

void ns_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

bool ns_set_direct(int descriptor, bool is_direct) {
    return fcntl(descriptor, F_SETFL, is_direct ? O_DIRECT : 0) == 0;
}
