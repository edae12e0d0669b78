/* heads.cu - heads.cuh for any number of rows, in a launch of its own. */
#include "kernels/cuda/heads.cuh"

static __global__ void __launch_bounds__(WARP) k_heads(struct heads_args a)
{
    grid_wait();
    const int64_t t = blockIdx.x;

    if (t < a.s.n[0])
        head_of(a, t, (int)blockIdx.y);
}
KERN(heads);
