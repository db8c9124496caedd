#include "nano_kernels.h"

void nk_scale_factors(float *scales, int count) {
    // Values of a scale of zero are zeros in any unit. In a much smaller one than before, sums are so
    // large that they lose nothing beside the origins of the dot products.
    const float fine = 0x1p20f;
    float before = 0;
    bool is_fine = false;
    for (int i = 0; i < count; i++) {
        float scale = scales[i];
        if (scale != 0) {
            scales[i] = before / scale;
            before = scale;
        } else if (before == 0 || is_fine) {
            scales[i] = before == 0 ? 0 : 1;
        } else {
            scales[i] = fine;
            before /= fine;
        }
        is_fine = scale == 0;
    }
    scales[count] = before;
}
