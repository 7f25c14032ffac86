// Attention: two thirds of what there is to compile.
#include "kernels/attending.h"

#include "kernels/attend_panels.h"

#include "kernels/attend_few.h"

#include "kernels/attend.h"

extern const AttentionKernels attention;
const AttentionKernels attention = {kAttentionRows, attend, merge_parts};
