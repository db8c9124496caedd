// What rounding weights to int8 would cost, before it is done.
#include "nano_kernels.h"
#include "numbers.h"

enum { LANES = 16 };

static double total(const float *sums) {
    double result = 0;
    for (int i = 0; i < LANES; i++) result += (double)sums[i];
    return result;
}

// Of one group: the squares of what rounding takes away, and of the weights themselves.
static void add_group(const float *x, int count, double *errors, double *squares) {
    float scale, inverse = 0, error_sums[LANES] = {0}, square_sums[LANES] = {0};
    if (nk_group_scale(nk_largest_bits(x, count), &scale)) inverse = 1.0f / scale;
    for (int first = 0; first < count; first += LANES) {
        int length = nk_smaller(LANES, count - first);
        for (int i = 0; i < length; i++) {
            float value = x[first + i];
            float error = value - nk_round_even(value * inverse) * scale;
            error_sums[i] += error * error;
            square_sums[i] += value * value;
        }
    }
    *errors += total(error_sums);
    *squares += total(square_sums);
}

void nk_int8_error(
    const float *weights, int rows, int inputs, int group_size, double *errors, double *squares) {
    *errors = *squares = 0;
    for (int j = 0; j < rows; j++, weights += inputs) {
        for (int first = 0; first < inputs; first += group_size) {
            int count = nk_smaller(group_size, inputs - first);
            add_group(weights + first, count, errors, squares);
        }
    }
}
