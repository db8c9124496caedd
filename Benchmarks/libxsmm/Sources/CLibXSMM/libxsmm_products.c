#include "libxsmm_products.h"

#include <libxsmm.h>

typedef void (*product_function)(const void *, const void *, void *);

// A function pointer's bits as a plain pointer, which Swift can keep.
typedef union {
    libxsmm_xmmfunction made;
    product_function function;
    const void *address;
} product_pointer;

const void *lxp_make(lxp_kind kind, int rows, int outputs, int inputs, int row_stride) {
    const int one = 1, vnni = LIBXSMM_GEMM_FLAG_VNNI_A, plain = LIBXSMM_GEMM_FLAG_NONE;
    const float one_float = 1;
    product_pointer product = {.address = NULL};
    switch (kind) {
        case LXP_INT8:
            product.made.usbimm = libxsmm_usbimmdispatch(
                outputs, rows, inputs, &outputs, &row_stride, &outputs, &one, &one, &vnni, NULL);
            break;
        case LXP_BF16:
            product.made.bsmm = libxsmm_bsmmdispatch(
                outputs, rows, inputs, &outputs, &row_stride, &outputs, &one_float, &one_float,
                &vnni, NULL);
            break;
        case LXP_F32:
            product.made.smm = libxsmm_smmdispatch(
                outputs, rows, inputs, &outputs, &row_stride, &outputs, &one_float, &one_float,
                &plain, NULL);
            break;
    }
    return product.address;
}

void lxp_run(const void *product, const void *weights, const void *activations, void *out) {
    product_pointer pointer = {.address = product};
    pointer.function(weights, activations, out);
}

const char *lxp_target(void) { return libxsmm_get_target_arch(); }
