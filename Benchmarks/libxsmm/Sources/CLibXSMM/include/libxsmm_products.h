// libxsmm's products, made for one shape each. For libxsmm, which counts by columns, the weights are
// the first matrix and the activations the second:
//
//     out[row][output] += sum over input of activations[row][input] * weights[input][output]
//
// int8: weights are u8, [inputs / 4][outputs][4], activations s8, out s32. bf16: weights
// [inputs / 2][outputs][2], out f32. f32: weights [inputs][outputs].
#pragma once

typedef enum { LXP_INT8, LXP_BF16, LXP_F32 } lxp_kind;

// Makes the machine code of a product; `row_stride` is that of the activations, in elements, and
// out is (rows, outputs). NULL where libxsmm has none for this CPU.
const void *lxp_make(lxp_kind kind, int rows, int outputs, int inputs, int row_stride);

void lxp_run(const void *product, const void *weights, const void *activations, void *out);

// What libxsmm takes this CPU for.
const char *lxp_target(void);
