#include "nano_kernels.h"

void nk_scale_factors(float *scales, int count) {
    float before = 0;
    for (int i = 0; i < count; i++) {
        float scale = scales[i];
        if (scale == 0) {
            // Its products are zeros in any unit.
            scales[i] = before == 0 ? 0 : 1;
        } else {
            scales[i] = before / scale;
            before = scale;
        }
    }
    scales[count] = before;
}
